"""Draws tokens. The noise of a completion depends on its own seed and its step only, never on its neighbours."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator, Philox
from torch import Tensor

from evohpc.errors import LMError

_BLOCK = 512


def uniforms(seed: int, count: int, *, attempt: int = 0) -> list[float]:
    """Return the uniform numbers in [0, 1) of an attempt at a completion, one per step."""
    source = np.random.SeedSequence(seed, spawn_key=(attempt,) if attempt else ())
    numbers: list[float] = Generator(Philox(source)).random(count).tolist()
    return numbers


def distribution(logits: Tensor, temperatures: Tensor, *, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Return the probabilities that tokens are drawn from: temperature first, then top-k, then top-p.

    Args:
        logits: [rows, vocabulary].
        temperatures: [rows]; 0 puts all on the likeliest token.

    Returns:
        [rows, vocabulary], float32, each row adding up to 1.
    """
    scaled = logits.float() / temperatures.clamp_min(1e-6)[:, None]
    if top_k:
        kept = min(top_k, scaled.shape[-1])
        scaled = scaled.masked_fill(scaled < scaled.topk(kept).values[:, -1:], -torch.inf)
    probabilities = scaled.softmax(-1)
    return _nucleus(probabilities, top_p) if top_p < 1 else probabilities


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Keep the smallest set of tokens with a total probability of at least `top_p`."""
    ordered, places = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1, dtype=torch.float64) - ordered
    ordered = ordered.masked_fill(before >= top_p, 0)
    kept = torch.zeros_like(probabilities).scatter_(-1, places, ordered)
    return kept / kept.sum(-1, keepdim=True)


def draw(probabilities: Tensor, noise: Tensor) -> Tensor:
    """Return one token per row, by inverting the cumulative distribution at `noise`.

    Args:
        probabilities: [rows, vocabulary], not negative; need not be normalised.
        noise: [rows], float64, in [0, 1).

    Returns:
        [rows]; never a token of probability 0.

    Raises:
        LMError: a row has no distribution, as its logits were not finite.
    """
    rows, vocabulary = probabilities.shape
    # Two levels: a running sum over a whole vocabulary would cost as much as the softmax.
    blocks = torch.nn.functional.pad(probabilities, (0, -vocabulary % _BLOCK)).view(rows, -1, _BLOCK)
    totals = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    if not bool(totals[:, -1].isfinite().all()):
        raise LMError("logits are not finite, as of some models in lm.dtype float16: take bfloat16 or float32")
    target = noise[:, None] * totals[:, -1:]
    block = _first_above(totals, target)
    before = torch.where(block > 0, totals.gather(-1, (block - 1).clamp_min(0)), 0.0)
    inside = blocks[torch.arange(rows, device=blocks.device), block[:, 0]].cumsum(-1, dtype=torch.float64)
    return (block * _BLOCK + _first_above(inside, target - before))[:, 0]


def _first_above(sums: Tensor, target: Tensor) -> Tensor:
    """Return the first place where a running sum exceeds its target, or where it reaches its end if rounding left
    the target beyond that."""
    last = torch.searchsorted(sums, sums[:, -1:].contiguous())
    return torch.minimum(torch.searchsorted(sums, target.contiguous(), right=True), last)
