"""From an algorithm's features to columns of numbers, and from those to vectors at nodes, edges and the graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evohpc.tasks.clrs.features import Feature, Location
from evohpc.tasks.clrs.linear import Image, truncated_normal

Columns = dict[str, Tensor]
"""Name of an encoder to its inputs, (..., size of the feature)."""


def encoded_at(feature: Feature) -> Location:
    """Return where a feature is read: a pointer from a node is a matter of edges."""
    return "edge" if feature.is_pointer else feature.location


def dense(feature: Feature, value: Tensor, nodes: int) -> Tensor:
    """Return a value as numbers: node indices become one-hot, soft predictions stay as they are."""
    if value.dtype == torch.int64:
        return F.one_hot(value, nodes).float()
    return value


def columns(of: Iterable[Feature], values: Mapping[str, Tensor], nodes: int) -> dict[Location, Columns]:
    """Return the columns of some features by where they are encoded."""
    found: dict[Location, Columns] = {"node": {}, "edge": {}, "graph": {}}
    for feature in of:
        value = dense(feature, values[feature.name], nodes)
        found[encoded_at(feature)].update(_columns(feature, value))
    return found


def _columns(feature: Feature, value: Tensor) -> Columns:
    if feature.kind == "categorical":
        return {feature.name: value}
    if feature.is_pointer and feature.location == "edge":
        # An edge points to a node, (batch, n, n, n). The encoders are linear, so that they may follow the mean.
        return {feature.name: value.mean(1)[..., None], _second(feature): value.mean(2)[..., None]}
    return {feature.name: value[..., None]}


def _second(feature: Feature) -> str:
    return f"{feature.name}_2"


class Encoder(nn.Module):
    """All linear encoders of one location; their images add up."""

    def __init__(self, of: Iterable[Feature], hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        for feature in of:
            two = feature.is_pointer and feature.location == "edge"
            for name in (feature.name, _second(feature)) if two else (feature.name,):
                self.layers[name] = layer = nn.Linear(feature.size, hidden)
                if feature.stage == "hint" and feature.kind == "scalar":
                    truncated_normal(layer.weight, 1 / math.sqrt(hidden))  # "xavier_on_scalars"

    def image(self, given: Columns, empty: Tensor, hidden: int) -> Image:
        """Return the sum of the encoders' images.

        Args:
            given: the encoders' inputs.
            empty: (..., 0), which tells the shape where there is no encoder.
        """
        layers = [layer for layer in self.layers.values() if isinstance(layer, nn.Linear)]
        return Image(
            torch.cat([empty, *(given[name] for name in self.layers)], -1),
            torch.cat([empty.new_zeros(hidden, 0), *(layer.weight for layer in layers)], 1),
            sum((layer.bias for layer in layers), start=empty.new_zeros(hidden)),
        )
