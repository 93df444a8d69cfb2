"""The loss on completion tokens, with a vocabulary too large to keep its logits twice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ROWS = 128
"""Computed in float32 at once."""


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum of the cross-entropies, float32.

    As `torch.nn.functional.cross_entropy` on float32 logits, but the gradient takes the place of the logits, which
    are lost: so the largest tensor of a training step exists once, in the model's own dtype.

    Args:
        logits: [targets, vocabulary]; overwritten if they need a gradient.
        targets: [targets], token ids.
        weights: [targets], float32.
    """
    loss: Tensor = _CrossEntropy.apply(logits, targets, weights)  # type: ignore[no-untyped-call]
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        parts = (torch.split(tensor, _ROWS) for tensor in (logits.detach(), targets, weights))
        for part, target, weight in zip(*parts, strict=True):
            scores = torch.log_softmax(part, -1, dtype=torch.float32)
            total -= (scores.gather(-1, target[:, None])[:, 0] * weight).sum()
            if ctx.needs_input_grad[0]:
                slope = scores.exp_()
                slope[torch.arange(len(target)), target] -= 1
                part.copy_(slope.mul_(weight[:, None]))
        ctx.slope = logits.detach()
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        slope: Tensor = ctx.slope
        return slope if upstream[0] == 1 else slope.mul_(upstream[0].to(slope.dtype)), None, None
