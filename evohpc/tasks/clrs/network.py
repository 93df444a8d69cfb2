"""The whole network of one algorithm: encode, process, decode, and feed the predicted hints back (Ibarz et al. 2022).

Equal to dm-clrs's `triplet_gmpnn` in single-task training, with two shortcuts that change no number: a run leaves the
batch after its last step, and outputs are decoded there only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from evohpc.tasks.clrs.batch import Batch
from evohpc.tasks.clrs.decoders import State, answer, log_sinkhorn, make_decoder, soft
from evohpc.tasks.clrs.encoders import Columns, Encoder, columns, encoded_at
from evohpc.tasks.clrs.features import Feature, first_node_mark
from evohpc.tasks.clrs.linear import Image
from evohpc.tasks.clrs.processor import OwnProcessor, Processor
from evohpc.tasks.clrs.specification import Location

LOCATIONS: tuple[Location, ...] = ("node", "edge", "graph")


@dataclass(frozen=True, slots=True)
class Tensors:
    """A `Batch` as tensors on a device. Inputs and outputs are (batch, ...), hints (steps, batch, ...)."""

    inputs: Mapping[str, Tensor]
    hints: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    lengths: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Steps of each run, (batch,). They stay on the host, which needs them to know how many runs go on."""

    @classmethod
    def of(cls, batch: Batch, device: torch.device | str = "cpu") -> Tensors:
        """Return a batch, copied to a device."""
        maps = (batch.inputs, batch.hints, batch.outputs)
        moved = [{name: torch.from_numpy(array).to(device) for name, array in each.items()} for each in maps]
        return cls(moved[0], moved[1], moved[2], batch.lengths)


@dataclass(frozen=True, slots=True)
class Predictions:
    """Logits by the name of the feature; shapes as `make_decoder` says."""

    outputs: dict[str, Tensor]
    """After the last step of each run, (batch, ...)."""
    hints: dict[str, Tensor] = field(default_factory=dict)
    """After each step that has a next hint, (steps * runs, ...): the runs that have one, one step after the other."""


class Network(nn.Module):
    """Encoders, processor and decoders of one algorithm.

    Args:
        of: the algorithm's features.
        hidden: h, size of the hidden state; 128 in the paper.
        triplets: see `evohpc.tasks.clrs.triplets`, or None for an MPNN without.
        own: a candidate's whole processor, in place of the published one and its triplets.
    """

    def __init__(
        self, of: tuple[Feature, ...], hidden: int, triplets: nn.Module | None, own: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.inputs, self.hints, self.outputs = (
            tuple(feature for feature in of if feature.stage == stage) for stage in ("input", "hint", "output")
        )
        read = self.inputs + self.hints
        self.encoders = nn.ModuleDict(
            {
                where: Encoder([feature for feature in read if encoded_at(feature) == where], hidden)
                for where in LOCATIONS
            }
        )
        self.processor = Processor(hidden, triplets) if own is None else OwnProcessor(own)
        self.decoders = nn.ModuleDict(
            {f"{each.stage}_{each.name}": make_decoder(each, hidden) for each in self.hints + self.outputs}
        )

    def forward(self, batch: Tensors, *, keep_hints: bool = True) -> Predictions:
        """Return the logits of a batch. In training mode, permutations get noise.

        Args:
            batch: sorted by falling length; hints of the first step are read, of later ones the network's own.
            keep_hints: also return the logits of the hints, which for 2,000 steps at 64 nodes take much memory.

        Raises:
            ValueError, TypeError: what the candidate returns has the wrong shape or dtype, see `Processor.forward`.
        """
        unroll = _Unroll(self, batch)
        hints: Mapping[str, Tensor] = {name: hint[0] for name, hint in batch.hints.items()}
        # A run of length 1 has no step of its own; dm-clrs takes one all the same.
        steps = np.maximum(batch.lengths - 1, 1)
        outputs, shown = [], []
        for step in range(int(steps[0])):
            running, still = int((steps > step).sum()), int((steps > step + 1).sum())
            state = unroll.step(hints, running)
            if running > still:
                outputs.append(self._decode(self.outputs, state.rows(slice(still, running))))
            logits = self._decode(self.hints, state)
            if keep_hints:
                shown.append({name: each[: int((batch.lengths > step + 1).sum())] for name, each in logits.items()})
            hints = {each.name: soft(each, logits[each.name][:still]) for each in self.hints}
        return Predictions(_joined(outputs[::-1]), _joined(shown))

    def answers(self, batch: Tensors) -> dict[str, Tensor]:
        """Return the hard answer for each output, int32 (batch, ...), of the shapes that `metrics.truths` returns.

        Args:
            batch: sorted by falling length.

        Raises:
            FloatingPointError: a logit is not finite.
        """
        logits = self(batch, keep_hints=False).outputs
        found = {each.name: answer(each, _finite(each, logits[each.name])) for each in self.outputs}
        for each in self.outputs:
            if each.kind == "permutation_pointer":
                itself = torch.arange(found[each.name].shape[1], dtype=torch.int32, device=found[each.name].device)
                is_first = found.pop(first_node_mark(each))[:, None] == itself
                found[each.name] = torch.where(is_first, itself, found[each.name])
        return found

    def encoder(self, where: Location) -> Encoder:
        """Return the encoder of a location."""
        encoder = self.encoders[where]
        assert isinstance(encoder, Encoder)
        return encoder

    def _decode(self, of: tuple[Feature, ...], state: State) -> dict[str, Tensor]:
        return {feature.name: self._logits(feature, state) for feature in of}

    def _logits(self, feature: Feature, state: State) -> Tensor:
        logits: Tensor = self.decoders[f"{feature.stage}_{feature.name}"](state)
        if feature.kind == "permutation_pointer":
            return log_sinkhorn(logits, noise=self.training)
        return logits


class _Unroll:
    """The steps of one batch, with the hidden state (runs, n, h) between them."""

    def __init__(self, network: Network, batch: Tensors) -> None:
        self.network = network
        pos = batch.inputs["pos"]
        self.nodes = pos.shape[1]
        self.hidden = pos.new_zeros(*pos.shape, network.hidden)
        self.inputs = columns(network.inputs, batch.inputs, self.nodes)

    def step(self, hints: Mapping[str, Tensor], running: int) -> State:
        """Return the state after one more step.

        Args:
            hints: what the step reads, (running, ...) by name.
            running: number of runs that go on; they are the first of the batch.
        """
        shown = columns(self.network.hints, hints, self.nodes)
        node, edge, graph = (self._image(where, shown[where], running) for where in LOCATIONS)
        node_fts, graph_fts, before = node.dense(), graph.dense(), self.hidden[:running]
        self.hidden, triplets = self.network.processor(node_fts, edge, graph_fts, before)
        return State(
            torch.cat([node_fts, before, self.hidden], -1),
            edge if triplets is None else edge.beside(triplets),
            graph_fts,
        )

    def _image(self, where: Location, shown: Columns, running: int) -> Image:
        axes = {"node": 1, "edge": 2, "graph": 0}[where]
        empty = self.hidden.new_zeros(running, *[self.nodes] * axes, 0)
        encoder: Encoder = self.network.encoder(where)
        given = {name: column[:running] for name, column in self.inputs[where].items()} | shown
        return encoder.image(given, empty, self.network.hidden)


def _finite(feature: Feature, logits: Tensor) -> Tensor:
    if not bool(torch.isfinite(logits).all()):
        raise FloatingPointError(f"the prediction of {feature.name} is not finite")
    return logits


def _joined(steps: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([step[name] for step in steps]) for name in (steps[0] if steps else ())}
