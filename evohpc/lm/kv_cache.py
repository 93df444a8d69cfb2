"""The keys and values of the rows that are decoded together: a transformers cache with a slot for each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

_GROW_BY = 64
"""Tokens. Storage is only as long as the longest row needs: batched matrix products copy operands that are a slice of
something longer."""


class Slots:
    """Room for `rows` sequences; the first `count` slots are taken.

    A row's keys and values never depend on its neighbours; only its slot may change.
    """

    def __init__(self, rows: int, *, minimum: int = 2) -> None:
        """`minimum` rows are always computed, taken or not: with one row alone, some matrix kernels sum in another
        order."""
        self.rows = max(rows, minimum)
        self.count = 0
        self.length = 0
        """Tokens that there is storage for."""
        self.positions = torch.zeros(self.rows, dtype=torch.long)
        """Tokens in each row; the next one goes there."""
        self.written = self.positions[:, None]
        """Where the tokens of the last step went. Shape: [rows, width]."""
        self._minimum = minimum
        self._cache: Cache | None = None

    def admit(self, prefix: DynamicCache, length: int) -> None:
        """Start a row in slot `count` with the keys and values of a prompt of `length` tokens."""
        if self._cache is None:
            self._cache = Cache(layers=[_Layer(self, layer.keys, layer.values) for layer in prefix.layers])
            self.positions = self.positions.to(prefix.layers[0].keys.device)
        self._fit(length + 1)
        self.positions[self.count] = length
        for mine, theirs in zip(self._cache.layers, prefix.layers, strict=True):
            mine.keys[self.count, :, :length] = theirs.keys[0]
            mine.values[self.count, :, :length] = theirs.values[0]
        self.count += 1

    def release(self, slot: int) -> int:
        """End the row in slot `slot` and move the last row there; return the slot that the last row had."""
        assert self._cache is not None
        last = self.count = self.count - 1
        self.positions[slot] = self.positions[last]
        for layer in self._cache.layers:
            layer.keys[slot] = layer.keys[last]
            layer.values[slot] = layer.values[last]
        self.positions[last] = 0
        return last

    def step(self, forward: Callable[..., Any], tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """Run the model on the next tokens of every row.

        Args:
            tokens: [count, width], to be appended to each row.
            dtype: in which the model computes.

        Returns:
            [count, width, vocabulary], the logits of what follows each token.
        """
        width = max(self.count, self._minimum)
        self.written = self.positions[:width, None] + torch.arange(tokens.shape[1], device=tokens.device)
        self._fit(int(self.written.max()) + 1)
        logits: Tensor = forward(
            input_ids=torch.nn.functional.pad(tokens, (0, 0, 0, width - self.count)),
            position_ids=self.written,
            attention_mask=self._mask(dtype),
            windowed=cache(lambda window: self._mask(dtype, window)),
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        return logits[: self.count]

    def advance(self, counts: Sequence[int]) -> None:
        """Keep the first `counts[i]` tokens that the last step appended to row i; the next step overwrites the rest."""
        self.positions[: self.count] += torch.tensor(counts, device=self.positions.device)

    def _fit(self, length: int) -> None:
        if length > self.length:
            self.length = -(-length // _GROW_BY) * _GROW_BY
            assert self._cache is not None
            for layer in self._cache.layers:
                layer.grow(self.length)

    def _mask(self, dtype: torch.dtype, window: int | None = None) -> Tensor:
        """Return the additive mask that hides what comes after each token that is shown, and before its window.

        Shape: [rows, 1, width, length].
        """
        keys, own = torch.arange(self.length, device=self.written.device), self.written[:, None, :, None]
        hidden = keys > own  # a token sees itself and what is before it: keys 0..own
        if window is not None:
            hidden |= keys <= own - window  # of these the last `window`
        return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, -torch.inf)


class _Layer(CacheLayerMixin):  # type: ignore[misc]  # transformers is not typed
    """Keys and values of one layer.

    Shape: [rows, key heads, length, width].
    """

    def __init__(self, slots: Slots, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self._slots = slots
        self.keys = keys.new_zeros(slots.rows, keys.shape[1], 0, keys.shape[3])
        self.values = values.new_zeros(slots.rows, values.shape[1], 0, values.shape[3])
        self.is_initialized = True

    def grow(self, length: int) -> None:
        """Make room for `length` tokens a row. What is unused must be finite: it is multiplied by zero."""
        missing = (0, 0, 0, length - self.keys.shape[2])
        self.keys = torch.nn.functional.pad(self.keys, missing)
        self.values = torch.nn.functional.pad(self.values, missing)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new keys and values at each row's own positions; return all of them."""
        width = key_states.shape[0]
        rows = torch.arange(width, device=key_states.device)[:, None]
        self.keys[rows, :, self._slots.written] = key_states.transpose(1, 2)
        self.values[rows, :, self._slots.written] = value_states.transpose(1, 2)
        return self.keys[:width], self.values[:width]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is left to do."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._slots.length, 0

    def get_seq_length(self) -> int:
        return self._slots.length - 1

    def get_max_length(self) -> int:
        return -1
