"""What an algorithm reads, shows and answers: the features of its CLRS-30 specification.

Two changes of the published recipe are made here (Ibarz et al. 2022): an output that must be a permutation becomes a
cyclic permutation and a mark of its first node, and a hint `pred_h` that never changes becomes an input.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

from evohpc.errors import TaskError
from evohpc.tasks.clrs import specification
from evohpc.tasks.clrs.specification import Location, Stage

Kind = Literal["scalar", "mask", "mask_one", "categorical", "pointer", "permutation_pointer"]

FIXED_PRED = frozenset(
    (
        *("activity_selector", "binary_search", "find_maximum_subarray_kadane", "jarvis_march", "kmp_matcher"),
        *("lcs_length", "matrix_chain_order", "minimum", "naive_string_matcher", "optimal_bst", "task_scheduling"),
    )
)
"""Algorithms whose hint `pred_h` only repeats the order of the nodes."""
_MASK = "_mask"


@dataclass(frozen=True, slots=True)
class Feature:
    """One named array of an algorithm's input, hints or output; arrays of hints have a leading time axis."""

    name: str
    stage: Stage
    location: Location
    """'node': (batch, n, ...), 'edge': (batch, n, n, ...), 'graph': (batch, ...)"""
    kind: Kind
    """'categorical' adds an axis of `size` classes; 'pointer' holds node indices; 'mask' may be -1 for unknown."""
    size: int = 1
    """Number of classes of a categorical feature, else 1."""

    @property
    def is_pointer(self) -> bool:
        """Points from each node, or each edge, to a node."""
        return self.kind in ("pointer", "permutation_pointer")


def algorithms() -> tuple[str, ...]:
    """Return the names of the 30 algorithms."""
    return tuple(_specifications())


def check_algorithm(name: str) -> None:
    """Raise TaskError unless `name` is one of the 30."""
    if name not in algorithms():
        raise TaskError(f"algorithm is {name!r}, it must be one of {', '.join(algorithms())}")


@cache
def _specifications() -> dict[str, tuple[specification.Row, ...]]:
    return specification.read()


@cache
def features(algorithm: str) -> tuple[Feature, ...]:
    """Return the features of an algorithm, in dm-clrs's order."""
    check_algorithm(algorithm)
    found: list[Feature] = []
    for name, stage, location, kind, classes in _specifications()[algorithm]:
        if kind == "should_be_permutation":
            found += [
                Feature(name, stage, location, "permutation_pointer"),
                Feature(name + _MASK, stage, location, "mask_one"),
            ]
        elif name == "pred_h" and algorithm in FIXED_PRED:
            found.append(Feature("pred", "input", location, cast(Kind, kind)))
        else:
            found.append(Feature(name, stage, location, cast(Kind, kind), classes))
    return tuple(found)


def answers(of: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """Return the outputs that are scored: the mark of a permutation's first node is part of the permutation."""
    permutations = {feature.name + _MASK for feature in of if feature.kind == "permutation_pointer"}
    return tuple(feature for feature in of if feature.stage == "output" and feature.name not in permutations)


def decodes_pairs(algorithm: str) -> bool:
    """Return whether a hint or an answer is decoded from messages of pairs of nodes: a pointer or a feature of edges.

    No other decoder reads what the triplet representation returns, so where this is False it changes no number.
    """
    decoded = [feature for feature in features(algorithm) if feature.stage != "input"]
    return any(feature.is_pointer or feature.location == "edge" for feature in decoded)


def first_node_mark(permutation: Feature) -> str:
    """Return the name of the feature that marks a permutation's first node."""
    return permutation.name + _MASK
