"""Turn an algorithm's features into columns of numbers, and these into vectors at nodes, edges and the graph.

Shapes: `n` is the number of nodes, `h` the size of the hidden state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evohpc.tasks.clrs.features import Feature
from evohpc.tasks.clrs.linear import Image, truncated_normal
from evohpc.tasks.clrs.specification import Location

Columns = dict[str, Tensor]
"""Inputs of the encoders of one location, by the encoder's name: (batch, size) for the graph, (batch, n, size) for
nodes and (batch, n, n, size) for edges, where size is that of the feature."""


def encoded_at(feature: Feature) -> Location:
    """Return the location whose encoder reads a feature: a pointer from node i to node j is read at the edge (i, j)."""
    return "edge" if feature.is_pointer else feature.location


def dense(value: Tensor, nodes: int) -> Tensor:
    """Return a value as float numbers: node indices, int64 (...), become one-hot vectors, (..., nodes). Anything else,
    a prediction that is fed back among it, stays as it is."""
    if value.dtype == torch.int64:
        return F.one_hot(value, nodes).float()
    return value


def columns(of: Iterable[Feature], values: Mapping[str, Tensor], nodes: int) -> dict[Location, Columns]:
    """Return the columns of some features, by the location that encodes them.

    Args:
        of: the features.
        values: their values by name, (batch, ...) as `Feature.location` says; hints of one step.
        nodes: n.
    """
    found: dict[Location, Columns] = {"node": {}, "edge": {}, "graph": {}}
    for feature in of:
        value = dense(values[feature.name], nodes)
        found[encoded_at(feature)].update(_columns(feature, value))
    return found


def _columns(feature: Feature, value: Tensor) -> Columns:
    if feature.kind == "categorical":
        return {feature.name: value}
    if feature.is_pointer and feature.location == "edge":
        # The value is (batch, i, j, k): edge (i, j) points to node k. dm-clrs encodes every entry and takes the mean
        # over i, and over j; an encoder is linear, so the mean may come first.
        return {feature.name: value.mean(1)[..., None], _second(feature): value.mean(2)[..., None]}
    return {feature.name: value[..., None]}


def _second(feature: Feature) -> str:
    return f"{feature.name}_2"


class Encoder(nn.Module):
    """The linear encoders of one location, whose results are added.

    Args:
        of: the features that this location reads.
        hidden: h.
    """

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
        """Return the sum of what the encoders make of their inputs, (..., hidden), as an `Image`.

        Args:
            given: the inputs, (..., size) each.
            empty: (..., 0); gives the leading axes where there is no encoder.
            hidden: h.

        Raises:
            KeyError: `given` lacks the input of an encoder.
        """
        layers = [layer for layer in self.layers.values() if isinstance(layer, nn.Linear)]
        return Image(
            torch.cat([empty, *(given[name] for name in self.layers)], -1),
            torch.cat([empty.new_zeros(hidden, 0), *(layer.weight for layer in layers)], 1),
            sum((layer.bias for layer in layers), start=empty.new_zeros(hidden)),
        )
