"""The message-passing processor: MPNN (Gilmer et al. 2017), gated, with triplets (Dudzik and Velickovic 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evohpc.tasks.clrs.linear import Image

_GATE_BIAS = -3.0
"""A gate is nearly shut at first (Ibarz et al. 2022, section 3.2)."""


class Processor(nn.Module):
    """One step of message passing over all ordered pairs of nodes; whether they have an edge is a feature.

    Args:
        hidden: h, size of the hidden state.
        triplets: see `evohpc.tasks.clrs.triplets`; None makes it the plain gated MPNN.
    """

    def __init__(self, hidden: int, triplets: nn.Module | None) -> None:
        super().__init__()
        self.triplets = triplets
        self.receiver, self.sender = nn.Linear(2 * hidden, hidden), nn.Linear(2 * hidden, hidden)
        self.edge, self.graph = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.message = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, hidden))
        self.skip, self.update = nn.Linear(2 * hidden, hidden), nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.gate_skip, self.gate_update = nn.Linear(2 * hidden, hidden), nn.Linear(hidden, hidden)
        self.gate = nn.Linear(hidden, hidden)
        nn.init.constant_(self.gate.bias, _GATE_BIAS)

    def forward(self, node: Tensor, edge: Image, graph: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the new hidden state (batch, n, h), and the triplets' messages (batch, n, n, any) or None.

        Args:
            node: features of the nodes, (batch, n, h)
            edge: features of the edges, (batch, n, n, h); the edge (i, j) sends from node i to node j
            graph: features of the graph, (batch, h)
            hidden: hidden state of the nodes, (batch, n, h)

        Raises:
            ValueError: the triplets are not (batch, n, n, any).
            TypeError: the triplets have another dtype than the nodes.
        """
        z = torch.cat([node, hidden], -1)
        received = self._messages(z, edge, graph)
        new = self.norm(F.relu(self.skip(z) + self.update(received)))
        gate = torch.sigmoid(self.gate(F.relu(self.gate_skip(z) + self.gate_update(received))))
        return torch.lerp(hidden, new, gate), self._triplets(z, edge, graph)

    def _messages(self, z: Tensor, edge: Image, graph: Tensor) -> Tensor:
        """Return the message that each node receives, (batch, n, h): of all senders, the largest of each element.

        Args:
            z: features and hidden state of the nodes, (batch, n, 2h)
        """
        pairs = edge.through(self.edge.weight, self.edge.bias)  # (batch, sender, receiver, h)
        pairs += self.receiver(z)[:, None]  # the same for all senders
        pairs += (self.sender(z) + self.graph(graph)[:, None])[:, :, None]  # the same for all receivers
        messages: Tensor = self.message(pairs.relu_())
        return messages.amax(1)  # over the senders

    def _triplets(self, z: Tensor, edge: Image, graph: Tensor) -> Tensor | None:
        if self.triplets is None:
            return None
        return F.relu(_messages_of("Triplets", self.triplets(z, edge.dense(), graph), edge))


class OwnProcessor(nn.Module):
    """A candidate's whole processor, in place of the published one: see docs/clrs.md.

    Args:
        own: what the candidate made.
    """

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.own = own

    def forward(self, node: Tensor, edge: Image, graph: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the new hidden state and the messages for pairs, or None; all as `Processor.forward`.

        Raises:
            ValueError: it returned no pair, or one of another shape.
            TypeError: one of the two has another dtype than the nodes.
        """
        found = self.own(torch.cat([node, hidden], -1), edge.dense(), graph, hidden)
        if not isinstance(found, tuple) or len(found) != 2:
            raise ValueError(f"Processor returned {_described(found)}, it must be (hidden state, messages or None)")
        new, messages = found
        if not isinstance(new, Tensor) or new.shape != hidden.shape:
            shape = f"(batch, n, h), here {tuple(hidden.shape)}"
            raise ValueError(f"Processor returned {_described(new)} as hidden state, it must be {shape}")
        _check_dtype("Processor", new, hidden.dtype)
        return new, None if messages is None else _messages_of("Processor", messages, edge)


def _messages_of(who: str, found: object, edge: Image) -> Tensor:
    """Return what a candidate made as messages for pairs of nodes, if it is that."""
    shape = (*edge.columns.shape[:3],)  # (batch, n, n), without the columns of the image
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[:3] != shape:
        raise ValueError(f"{who} returned {_described(found)}, it must be (batch, n, n, any), here {(*shape, 'any')}")
    _check_dtype(who, found, edge.columns.dtype)
    return found


def _check_dtype(who: str, found: Tensor, expected: torch.dtype) -> None:
    if found.dtype != expected:
        raise TypeError(f"{who} returned {found.dtype}, it must be {expected}")


def _described(found: object) -> str:
    return f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
