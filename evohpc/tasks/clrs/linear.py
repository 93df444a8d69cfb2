"""Haiku's initialisation for PyTorch's linear layers, and affine images that are mapped on before they exist."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def truncated_normal(weight: Tensor, std: float) -> None:
    """Fill with `hk.initializers.TruncatedNormal(std)`: cut, and not rescaled, at two standard deviations."""
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


@contextmanager
def haiku_defaults() -> Iterator[None]:
    """Let each `nn.Linear` that is made, or materialised, start as `hk.Linear` does: a truncated normal weight of
    standard deviation 1/sqrt(inputs), and no bias. What a candidate initialises itself stays as it says."""
    original = nn.Linear.reset_parameters

    def reset(layer: nn.Linear) -> None:
        if layer.in_features:  # a lazy layer comes a second time, when it knows its inputs
            truncated_normal(layer.weight, 1 / math.sqrt(layer.in_features))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    nn.Linear.reset_parameters = reset  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        nn.Linear.reset_parameters = original  # type: ignore[method-assign]


@dataclass(frozen=True, slots=True)
class Image:
    """The affine image of a few columns, columns @ weight.T + bias.

    All that is known of an edge is a handful of numbers, so a linear map of its h features is one of those numbers:
    `through` multiplies (few, out) instead of (h, out) matrices, for each of batch * n * n edges.
    """

    columns: Tensor
    """(..., few)"""
    weight: Tensor
    """(h, few)"""
    bias: Tensor
    """(h,)"""

    def dense(self) -> Tensor:
        """Return the image, (..., h)."""
        return F.linear(self.columns, self.weight, self.bias)

    def through(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the image's own image, (..., out), by a weight (out, h) and a bias (out,)."""
        return F.linear(self.columns, weight @ self.weight, weight @ self.bias + bias)

    def beside(self, right: Tensor) -> Image:
        """Return the image with `right` (..., d) concatenated to it, (..., h + d)."""
        size = right.shape[-1]
        identity = torch.eye(size, dtype=right.dtype, device=right.device)
        weight = torch.block_diag(self.weight, identity)  # type: ignore[no-untyped-call]
        return Image(torch.cat([self.columns, right], -1), weight, F.pad(self.bias, (0, size)))

    def rows(self, which: slice) -> Image:
        """Return the image of some of the first axis."""
        return Image(self.columns[which], self.weight, self.bias)


class ImageLinear(nn.Module):
    """A linear layer on an `Image`, as wide as the first one that it gets."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.linear = nn.LazyLinear(outputs)

    def forward(self, image: Image) -> Tensor:
        """Return (..., outputs)."""
        if isinstance(self.linear, nn.LazyLinear):
            self.linear(image.bias[None])
        return image.through(self.linear.weight, self.linear.bias)
