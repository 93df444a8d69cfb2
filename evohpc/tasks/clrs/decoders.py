"""From the processor's state to logits of each hint and output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evohpc.tasks.clrs.features import Feature
from evohpc.tasks.clrs.linear import Image, ImageLinear

TEMPERATURE = 0.1
_LOGIT_STEPS, _ANSWER_STEPS = 10, 50
"""Sinkhorn iterations where logits are decoded, and once more where an answer is read off them."""


@dataclass(frozen=True, slots=True)
class State:
    """What decoders see of one step."""

    node: Tensor
    """(batch, n, 3h): features, hidden state before, hidden state after."""
    edge: Image
    """(batch, n, n, h + width of the triplets)"""
    graph: Tensor
    """(batch, h)"""

    def rows(self, which: slice) -> State:
        """Return the state of some runs of the batch."""
        return State(self.node[which], self.edge.rows(which), self.graph[which])


def make_decoder(feature: Feature, hidden: int) -> nn.Module:
    """Return the module that maps a `State` to the feature's logits, shaped as the feature, pointers over nodes.

    Raises:
        ValueError: CLRS-30 has no such feature.
    """
    if feature.is_pointer:
        kinds = {"node": NodePointerDecoder, "edge": EdgePointerDecoder}
        if feature.location not in kinds:
            raise ValueError(f"{feature.name}: no decoder for a pointer of the {feature.location}")
        return kinds[feature.location](hidden)
    return {"node": NodeDecoder, "edge": EdgeDecoder, "graph": GraphDecoder}[feature.location](hidden, feature.size)


class NodeDecoder(nn.Module):
    """(batch, n), or (batch, n, classes)."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.node = nn.Linear(3 * hidden, size)

    def forward(self, state: State) -> Tensor:
        return _squeezed(self.node(state.node))


class GraphDecoder(nn.Module):
    """(batch,), or (batch, classes)."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.node, self.graph = nn.Linear(3 * hidden, size), nn.Linear(hidden, size)

    def forward(self, state: State) -> Tensor:
        return _squeezed(self.node(state.node.amax(1)) + self.graph(state.graph))


class EdgeDecoder(nn.Module):
    """(batch, n, n), or (batch, n, n, classes)."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.source, self.target = nn.Linear(3 * hidden, size), nn.Linear(3 * hidden, size)
        self.edge = ImageLinear(size)

    def forward(self, state: State) -> Tensor:
        return _squeezed(self.vectors(state))

    def vectors(self, state: State) -> Tensor:
        """Return (batch, n, n, size)."""
        vectors: Tensor = self.edge(state.edge)
        vectors += self.source(state.node)[:, :, None]
        vectors += self.target(state.node)[:, None]
        return vectors


class NodePointerDecoder(nn.Module):
    """(batch, n, n): how much node i points to node j."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.source, self.target = nn.Linear(3 * hidden, hidden), nn.Linear(3 * hidden, hidden)
        self.edge, self.out = ImageLinear(hidden), nn.Linear(hidden, 1)

    def forward(self, state: State) -> Tensor:
        targets: Tensor = self.edge(state.edge)
        targets += self.target(state.node)[:, :, None]
        at_target = torch.maximum(targets, self.source(state.node)[:, None])
        return _squeezed(self.out(at_target)).transpose(1, 2)


class EdgePointerDecoder(EdgeDecoder):
    """(batch, n, n, n): how much the pair (i, j) points to node k."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden, hidden)
        self.node, self.out = nn.Linear(3 * hidden, hidden), nn.Linear(hidden, 1)

    def forward(self, state: State) -> Tensor:
        pairs, nodes = self.vectors(state), self.node(state.node)
        # One i at a time: (batch, n, n, n, h) is 4 GB for 32 graphs of 64 nodes.
        rows = [_squeezed(self.out(torch.maximum(row[:, :, None], nodes[:, None]))) for row in pairs.unbind(1)]
        return torch.stack(rows, 1)


def log_sinkhorn(logits: Tensor, *, noise: bool, steps: int = _LOGIT_STEPS) -> Tensor:
    """Return the logarithm of the doubly stochastic matrix nearest to logits (..., n, n), with an empty diagonal.

    Args:
        noise: add Gumbel noise, as in training (Mena et al. 2018).
    """
    if noise:
        logits = logits - torch.log(-torch.log(torch.rand_like(logits) + 1e-12) + 1e-12)
    nodes = logits.shape[-1]
    logits = logits / TEMPERATURE - 1e6 * torch.eye(nodes, dtype=logits.dtype, device=logits.device)
    for _ in range(steps):
        logits = logits.log_softmax(-1).log_softmax(-2)
    return logits


def answer(feature: Feature, logits: Tensor) -> Tensor:
    """Return an output's hard answer, int32: a node's or class's index, or 0 or 1 for a mask."""
    if feature.kind == "mask":
        return (logits > 0).int()
    if feature.kind == "permutation_pointer":
        logits = log_sinkhorn(logits, noise=False, steps=_ANSWER_STEPS)
    return logits.argmax(-1).int()


def soft(feature: Feature, logits: Tensor) -> Tensor:
    """Return a hint's prediction as it is fed back: probabilities, through which gradients flow."""
    if feature.kind == "scalar":
        return logits
    return logits.sigmoid() if feature.kind == "mask" else logits.softmax(-1)


def _squeezed(vectors: Tensor) -> Tensor:
    return vectors.squeeze(-1)
