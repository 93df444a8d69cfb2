"""Turn the processor's state into the logits of each hint and output.

Shapes: `n` is the number of nodes, `h` the size of the hidden state.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evohpc.tasks.clrs.features import Feature
from evohpc.tasks.clrs.linear import Image, ImageLinear

TEMPERATURE = 0.1
_LOGIT_STEPS, _ANSWER_STEPS = 10, 50
"""Sinkhorn iterations that make logits, and those that make a hard answer of them."""


@dataclass(frozen=True, slots=True)
class State:
    """What the decoders read after one step."""

    node: Tensor
    """(batch, n, 3h): the node's features, its hidden state before the step, and after it."""
    edge: Image
    """(batch, n, n, h + width of the triplets): the edge's features, then the triplets' messages"""
    graph: Tensor
    """(batch, h)"""

    def rows(self, which: slice) -> State:
        """Return the state of the runs that a slice of the batch axis names."""
        return State(self.node[which], self.edge.rows(which), self.graph[which])


def make_decoder(feature: Feature, hidden: int) -> nn.Module:
    """Return the module that maps a `State` to a feature's logits: (batch, ...) of the feature's shape, for a pointer
    with a last axis of n more, the nodes it may point to.

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
    """Logits of a feature of nodes: (batch, n), or (batch, n, classes)."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.node = nn.Linear(3 * hidden, size)

    def forward(self, state: State) -> Tensor:
        return _squeezed(self.node(state.node))


class GraphDecoder(nn.Module):
    """Logits of a feature of the graph: (batch,), or (batch, classes)."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.node, self.graph = nn.Linear(3 * hidden, size), nn.Linear(hidden, size)

    def forward(self, state: State) -> Tensor:
        return _squeezed(self.node(state.node.amax(1)) + self.graph(state.graph))


class EdgeDecoder(nn.Module):
    """Logits of a feature of edges: (batch, n, n), or (batch, n, n, classes)."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.source, self.target = nn.Linear(3 * hidden, size), nn.Linear(3 * hidden, size)
        self.edge = ImageLinear(size)

    def forward(self, state: State) -> Tensor:
        return _squeezed(self.vectors(state))

    def vectors(self, state: State) -> Tensor:
        """Return one vector for each edge, (batch, n, n, size)."""
        vectors: Tensor = self.edge(state.edge)
        vectors += self.source(state.node)[:, :, None]
        vectors += self.target(state.node)[:, None]
        return vectors


class NodePointerDecoder(nn.Module):
    """Logits of a pointer of nodes: (batch, n, n), how much node i points to node j."""

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
    """Logits of a pointer of edges: (batch, n, n, n), how much the edge (i, j) points to node k."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden, hidden)
        self.node, self.out = nn.Linear(3 * hidden, hidden), nn.Linear(hidden, 1)

    def forward(self, state: State) -> Tensor:
        pairs, nodes = self.vectors(state), self.node(state.node)
        # One i at a time: (batch, n, n, n, h) is 4 GB for 32 graphs of 64 nodes.
        rows = [_squeezed(self.out(torch.maximum(row[:, :, None], nodes[:, None]))) for row in pairs.unbind(1)]
        return torch.stack(rows, 1)


def log_sinkhorn(logits: Tensor, *, noise: bool, steps: int = _LOGIT_STEPS) -> Tensor:
    """Return the logarithm, (..., n, n), of the doubly stochastic matrix that Sinkhorn's iterations reach from logits.
    Its diagonal is empty: no node points to itself.

    Args:
        logits: (..., n, n)
        noise: add Gumbel noise, as in training (Mena et al. 2018).
        steps: times that rows and columns are normalised.
    """
    if noise:
        logits = logits - torch.log(-torch.log(torch.rand_like(logits) + 1e-12) + 1e-12)
    nodes = logits.shape[-1]
    logits = logits / TEMPERATURE - 1e6 * torch.eye(nodes, dtype=logits.dtype, device=logits.device)
    for _ in range(steps):
        logits = logits.log_softmax(-1).log_softmax(-2)
    return logits


def answer(feature: Feature, logits: Tensor) -> Tensor:
    """Return the hard answer for an output, int32: the index of a node or a class, without the last axis of the logits,
    or 0 or 1 for a mask, of the shape of the logits."""
    if feature.kind == "mask":
        return (logits > 0).int()
    if feature.kind == "permutation_pointer":
        logits = log_sinkhorn(logits, noise=False, steps=_ANSWER_STEPS)
    return logits.argmax(-1).int()


def soft(feature: Feature, logits: Tensor) -> Tensor:
    """Return a hint's prediction as the next step reads it, of the shape of the logits: probabilities, or the number
    itself of a scalar. Gradients flow through it."""
    if feature.kind == "scalar":
        return logits
    return logits.sigmoid() if feature.kind == "mask" else logits.softmax(-1)


def _squeezed(vectors: Tensor) -> Tensor:
    return vectors.squeeze(-1)
