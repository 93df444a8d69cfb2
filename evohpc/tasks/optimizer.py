"""The optimizer of the built-in tasks, for whatever numbers a candidate's weights are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def adamw(weights: Sequence[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW: the fused one, which is faster, or torch's default where a weight is complex."""
    fused = True if all(weight.is_floating_point() for weight in weights) else None
    return torch.optim.AdamW(weights, lr=learning_rate, weight_decay=weight_decay, fused=fused)
