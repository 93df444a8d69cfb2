"""Batches of algorithm runs: their arrays, and the numbers of nodes that networks train on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

TRAIN_SIZES = (4, 7, 11, 13, 16)
_STRINGS = ("naive_string_matcher", "kmp_matcher")


@dataclass(frozen=True, slots=True)
class Batch:
    """Runs of one algorithm on inputs of one size; networks want them sorted by falling length.

    Node indices are int64, all else float32; lengths are int64, of shape (batch,). Features have the shapes that
    `Feature.location` tells.
    """

    inputs: Mapping[str, Array]
    hints: Mapping[str, Array]
    """With a leading time axis; only the first step where hints must not be known."""
    outputs: Mapping[str, Array]
    lengths: Array
    """Number of hints of each run, the initial ones included."""

    def rows(self, which: slice | Array) -> Batch:
        """Return some of the runs."""
        return Batch(
            {name: array[which] for name, array in self.inputs.items()},
            {name: array[:, which] for name, array in self.hints.items()},
            {name: array[which] for name, array in self.outputs.items()},
            self.lengths[which],
        )

    def sorted(self) -> tuple[Batch, Array]:
        """Return the runs by falling length, and where each of these was."""
        order = np.argsort(-self.lengths, kind="stable")
        return self.rows(order), order

    def visible(self) -> dict[str, Array]:
        """Return what a network may see when it is evaluated, as arrays by one name each; `of` takes them back."""
        inputs = {f"input.{name}": array for name, array in self.inputs.items()}
        hints = {f"hint.{name}": array[:1] for name, array in self.hints.items()}
        return {**inputs, **hints, "lengths": self.lengths}

    @classmethod
    def of(cls, visible: Mapping[str, Array]) -> Batch:
        """Return a batch without outputs."""

        def under(prefix: str) -> dict[str, Array]:
            return {name.removeprefix(prefix): array for name, array in visible.items() if name.startswith(prefix)}

        return cls(under("input."), under("hint."), {}, visible["lengths"])


def training_sizes(algorithm: str, sizes: tuple[int, ...] = TRAIN_SIZES) -> tuple[int, ...]:
    """Return the sizes to train on: the string matchers vary the needle in a text of fixed length instead."""
    return (max(sizes) * 5 // 4,) if algorithm in _STRINGS else sizes
