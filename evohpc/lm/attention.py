"""Attention for decoding and for tuning on a CPU, as an attention implementation of transformers.

In decoding, the few new tokens of each row attend to that row's own keys; in tuning, each example of a pack attends to
the beginning that all share and to itself. torch's fused kernel runs the first at a third of the speed of two batched
matrix products, and would compute all that the mask of the second hides. So batched products are used, with the query
heads that share a key head as the rows of one product; and wherever scores are capped, which that kernel cannot do.
Every other case is transformers' own "sdpa".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor

NAME = "evohpc"


def register() -> None:
    """Make `attn_implementation=NAME` known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


@dataclass(frozen=True, slots=True)
class _Scores:
    """How a query is compared with a key."""

    scale: float
    cap: float | None
    """Scores bend towards this (Gemma 2 report, section 2); None leaves them."""

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """Shape: [heads, new tokens, width], [heads, tokens, width] -> [heads, new tokens, tokens]."""
        scores = torch.bmm(query, key.transpose(1, 2)).mul_(self.scale)
        return scores if self.cap is None else (scores / self.cap).tanh() * self.cap


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    *,
    sliding_window: int | None = None,
    softcap: float | None = None,
    windowed: Callable[[int], Tensor] | None = None,
    segments: Sequence[int] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """See `transformers.AttentionInterface`.

    Args:
        query: [rows, heads, new tokens, width].
        key, value: [rows, key heads, tokens, width]; values may have a width of their own.
        attention_mask: additive, [rows, 1, new tokens, tokens], in decoding.
        windowed: in decoding, returns the mask of a sliding window.
        segments: where there is one row: lengths of what all see and of what only itself sees besides, as
            `Pack.segments`; says no more than the mask, but for the window.
    """
    score = _Scores(scaling or query.shape[-1] ** -0.5, softcap)
    if windowed is not None and sliding_window is not None:
        attention_mask = windowed(sliding_window)
    prefers_products = query.device.type == "cpu" and options.get("position_bias") is None
    if segments is not None and (prefers_products or softcap is not None or sliding_window is not None):
        return _by_segment(query, key, value, segments, sliding_window, score), None
    if prefers_products and _is_shown(attention_mask, query):
        return _one_by_one(query, key, value, attention_mask, score), None
    if softcap is not None:
        return _mix(query, key, value, _additive(attention_mask, query, key), score), None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    output: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)[0]
    return output, None


def _is_shown(mask: Tensor | None, query: Tensor) -> TypeGuard[Tensor]:
    """Say whether a mask is one of decoding."""
    return mask is not None and mask.dtype == query.dtype and mask.shape[2] == query.shape[2]


def _additive(mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor:
    """Return a mask that is added to scores for one that may be boolean, or absent where all before is seen.

    Shape: [rows or 1, 1, new tokens, tokens].
    """
    if mask is not None and mask.dtype != torch.bool:
        return mask
    new, tokens = query.shape[2], key.shape[2]
    shown = torch.ones(1, 1, new, tokens, dtype=torch.bool, device=query.device).tril(tokens - new)
    hidden = ~(shown if mask is None else mask)
    return torch.zeros(hidden.shape, dtype=query.dtype, device=query.device).masked_fill_(hidden, -torch.inf)


def _one_by_one(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, score: _Scores) -> Tensor:
    """Do as `_mix`, so that a token's numbers do not depend on how many are new."""
    each = zip(torch.split(query, 1, 2), torch.split(mask, 1, 2), strict=True)
    return torch.cat([_mix(one, key, value, shown, score) for one, shown in each], 1)


def _mix(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, score: _Scores) -> Tensor:
    """Return the attention of new tokens, as [rows, new tokens, heads, width]."""
    rows, heads, new, width = query.shape
    key_heads, tokens = key.shape[1:3]
    # Heads that share a key head are rows of one product, so keys need not be repeated for each of them.
    queries = query.reshape(rows * key_heads, heads // key_heads * new, width)
    scores = score(queries, key.flatten(0, 1)).view(rows, heads, new, tokens).add_(mask)
    weights = torch.softmax(scores, -1).view(rows * key_heads, -1, tokens)
    return torch.bmm(weights, value.flatten(0, 1)).view(rows, heads, new, -1).transpose(1, 2)


def _by_segment(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequence[int], window: int | None, score: _Scores
) -> Tensor:
    """Return the attention of one packed row, segment by segment, as [1, tokens, heads, width]."""
    queries, keys, values = (torch.split(states[0], list(segments), 1) for states in (query, key, value))
    mixed = [_causal(queries[0], keys[0], values[0], window, score)]
    for own in range(1, len(segments)):
        seen_keys, seen_values = (torch.cat([states[0], states[own]], 1) for states in (keys, values))
        mixed.append(_causal(queries[own], seen_keys, seen_values, window, score))
    return torch.cat(mixed, 1).transpose(0, 1)[None]


def _causal(query: Tensor, key: Tensor, value: Tensor, window: int | None, score: _Scores) -> Tensor:
    """Return the attention of the last tokens to all, or to those in a window that ends with each.

    Shape: [heads, new tokens, width], [key heads, tokens, width] -> [heads, new tokens, width].
    """
    heads, new, width = query.shape
    key_heads, tokens = key.shape[:2]
    scores = score(query.reshape(key_heads, -1, width), key).view(heads, new, tokens)
    shown = torch.ones(new, tokens, dtype=torch.bool, device=query.device).tril(tokens - new)
    if window is not None:  # new token i stands at tokens - new + i and sees the `window` keys that end there
        shown = shown.triu(tokens - new - window + 1)
    weights = torch.softmax(scores.masked_fill(~shown, -torch.inf), -1)
    return torch.bmm(weights.view(key_heads, -1, tokens), value).view(heads, new, -1)
