"""Whether a prediction depends on its own row alone: cuts inputs into batches of other rows, and compares what came.

A candidate is given all inputs of the validation split, and could normalise by them, train on them, or answer otherwise
when it is alone with a row. So what is scored was predicted in two processes, each with one half of the rows, in
another order and in batches of other sizes than the prediction that chose the checkpoint; both must say the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evohpc.errors import TaskCodeError
from evohpc.evaluation.verdict import Failed, described
from evohpc.messages import Status
from evohpc.tasks.base import Task

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
Batch = Mapping[str, Array]
"""Group of rows -> indices of those that are predicted together."""

Predict = Callable[[str, list[dict[str, Array]]], list[dict[str, Array]]]
"""Predicts batches in a new process that sees no other rows: name of the stage, inputs -> predictions."""

TOLERATED, TOLERATED_ALONE = 0.01, 0.5
"""Share of answers that may differ, of all and of the few rows predicted alone: sums of other lengths round otherwise,
which tips what is undecided."""
OWN_CHANCE = 2.0
"""A model that draws random numbers when it predicts may differ by so many times what another seed changes."""
_SHARES = (3, 0, 1, 2, 0, 2)
"""How the rows of a half are cut into batches; 0 stands for a single row. The first materialises lazy modules."""
_DEPENDS = "answers for a row depend on the rows beside it, their number or their order"
_RELATIVE, _OF_SPREAD = 1e-4, 1e-2
"""By how much a number may differ: of itself, and of the usual distance from its column's median."""


@dataclass(frozen=True, slots=True)
class Split:
    """How the rows of a task's inputs are cut."""

    task: Task
    halves: tuple[tuple[Batch, ...], tuple[Batch, ...]]

    def where(self, arrays: Arrays) -> Mapping[str, tuple[str, int]]:
        """Return what the task tells of the rows of arrays; see `rows_of`.

        Raises:
            TaskCodeError: `Task.rows` failed, or tells of other arrays.
        """
        found = rows_of(self.task, arrays)
        if found.keys() != arrays.keys():
            raise _misfit(
                self.task, f"names {', '.join(sorted(found))}, the predictions are {', '.join(sorted(arrays))}"
            )
        return found

    def take(self, inputs: Arrays, batch: Batch) -> dict[str, Array]:
        """Return the rows of a batch."""
        return {name: np.take(inputs[name], batch[group], axis) for name, (group, axis) in self.where(inputs).items()}

    def join(self, predictions: Sequence[Arrays], batches: Sequence[Batch]) -> dict[str, Array]:
        """Return the predictions of batches as one, their rows in the order of the inputs.

        Raises:
            ValueError: a batch was not predicted row by row, or not as the others.
        """
        names = predictions[0].keys()
        for found, batch in zip(predictions, batches, strict=True):
            if found.keys() != names:
                raise ValueError(f"predicts {', '.join(sorted(found.keys() ^ names))} in some batches only")
            for name, (group, axis) in self.where(found).items():
                if group not in batch:
                    raise ValueError(f"predicts '{name}', which nobody asked for")
                _check_length(name, found[name], axis, len(batch[group]))
        return {name: self._joined(name, predictions, batches) for name in names}

    def _joined(self, name: str, predictions: Sequence[Arrays], batches: Sequence[Batch]) -> Array:
        group, axis = self.where(predictions[0])[name]
        order = np.argsort(np.concatenate([batch[group] for batch in batches]))
        parts = [found[name] for found in predictions]
        kinds = {(part.dtype, part.shape[:axis], part.shape[axis + 1 :]) for part in parts}
        if len(kinds) != 1:
            raise ValueError(f"'{name}' has another shape or dtype in another batch")
        return np.take(np.concatenate(parts, axis), order, axis)

    def alone(self, predictions: Arrays) -> dict[str, Array]:
        """Return the predictions for the rows that are batches by themselves."""
        single = [batch for half in self.halves for batch, share in zip(half, _SHARES, strict=False) if share == 0]
        rows = {group: np.concatenate([batch[group] for batch in single]) for batch in single[:1] for group in batch}
        return self.take(predictions, rows) if rows else {}

    def difference(self, one: Arrays, other: Arrays) -> float:
        """Return the largest share, over the arrays, of answers that two predictions of the same rows do not share.

        Raises:
            ValueError: they are not of the same shapes and types.
            TaskCodeError: `Task.answers` failed.
        """
        same = dict(_pairs(one, other))
        told = [self._answers({name: pair[which] for name, pair in same.items()}) for which in (0, 1)]
        return max((_share(*pair) for _, pair in _pairs(*told)), default=0.0)

    def _answers(self, predictions: Arrays) -> Arrays:
        answers: Callable[[Arrays], Arrays] = getattr(self.task, "answers", lambda predictions: predictions)
        try:
            return {str(name): np.asarray(array) for name, array in answers(predictions).items()}
        except Exception as error:
            said = described(error, self.task)
            raise TaskCodeError(f"task {self.task.interface.name}: answers raised {said}") from error


def confirm(split: Split, inputs: Arrays, first: Arrays, predict: Predict) -> dict[str, Array]:
    """Return the predictions of a checkpoint that count.

    Args:
        first: what it predicted with all rows before it.
        predict: for the stages 'confirm', and 'again', whose random numbers are others.

    Raises:
        Failed: they are not what it predicted first.
    """
    try:
        found = [predict("confirm", [split.take(inputs, batch) for batch in half]) for half in split.halves]
        joined = split.join([*found[0], *found[1]], [*split.halves[0], *split.halves[1]])
        share, alone = split.difference(first, joined), split.difference(*map(split.alone, (first, joined)))
        if share > TOLERATED or alone > TOLERATED_ALONE:
            half = split.halves[0]
            again = split.join(predict("again", [split.take(inputs, batch) for batch in half]), half)
            own = OWN_CHANCE * split.difference(split.join(found[0], half), again)
            if share > TOLERATED + own or alone > TOLERATED_ALONE + own:
                raise Failed(Status.PROTOCOL_VIOLATION, f"{_DEPENDS}: {share:.1%} of all, {alone:.1%} of rows alone")
    except ValueError as error:
        raise Failed(Status.SHAPE_ERROR, f"{error}, though not in the whole split") from None
    except Failed as failure:
        if failure.status is Status.NONFINITE:  # it was finite before
            raise Failed(Status.PROTOCOL_VIOLATION, f"{_DEPENDS}: {failure.detail}") from None
        raise
    return joined


def split(task: Task, inputs: Arrays, seed: int) -> Split | None:
    """Return how to cut a task's inputs; None if it does not say where their rows are (`Task.rows`), or has too few.

    Args:
        seed: must be unknown to candidates.

    Raises:
        TaskCodeError: `Task.rows` failed, or does not fit the inputs.
    """
    if not hasattr(task, "rows"):
        return None
    counts = _counts(task, inputs)
    if min(counts.values(), default=0) < 2:
        return None
    draw = np.random.Generator(np.random.Philox(seed))
    orders = {group: draw.permutation(count) for group, count in sorted(counts.items())}
    first = {group: order[: (len(order) + 1) // 2] for group, order in orders.items()}
    second = {group: order[(len(order) + 1) // 2 :] for group, order in orders.items()}
    return Split(task, (_batches(first), _batches(second)))


def rows_of(task: Task, arrays: Arrays) -> Mapping[str, tuple[str, int]]:
    """Return for each array the group of rows that it has, and which of its axes they are.

    Raises:
        TaskCodeError: `Task.rows` failed, or says something else.
    """
    try:
        found = task.rows(arrays)  # type: ignore[attr-defined]
        return {name: (str(group), operator.index(axis)) for name, (group, axis) in found.items()}
    except Exception as error:
        raise TaskCodeError(f"task {task.interface.name}: rows raised {described(error, task)}") from error


def _counts(task: Task, inputs: Arrays) -> dict[str, int]:
    """Return how many rows each group has."""
    counts: dict[str, set[int]] = {}
    places = rows_of(task, inputs)
    if places.keys() != inputs.keys():
        raise _misfit(task, f"names {', '.join(sorted(places))}, the inputs are {', '.join(sorted(inputs))}")
    for name, (group, axis) in places.items():
        if axis not in range(inputs[name].ndim):
            raise _misfit(task, f"says axis {axis} of {name}, which has shape {inputs[name].shape}")
        counts.setdefault(group, set()).add(inputs[name].shape[axis])
    if uneven := [group for group, found in counts.items() if len(found) > 1]:
        raise _misfit(task, f"puts arrays of {sorted(counts[uneven[0]])} rows into the group {uneven[0]!r}")
    return {group: found.pop() for group, found in counts.items()}


def _misfit(task: Task, reason: str) -> TaskCodeError:
    return TaskCodeError(f"task {task.interface.name}: rows {reason}")


def _batches(half: Batch) -> tuple[Batch, ...]:
    """Cut each group into as many batches, none of them empty."""
    count = min(len(_SHARES), *map(len, half.values()))
    cuts = {group: np.split(rows, np.cumsum(_sizes(len(rows), count))[:-1]) for group, rows in half.items()}
    return tuple({group: cut[number] for group, cut in cuts.items()} for number in range(count))


def _sizes(rows: int, count: int) -> list[int]:
    """Return the sizes of batches: one each, and the rest as `_SHARES` tells."""
    shares = np.array(_SHARES[:count])
    more = (rows - count) * shares // shares.sum()
    more[0] += rows - count - more.sum()
    return [1 + int(size) for size in more]


def _check_length(name: str, array: Array, axis: int, rows: int) -> None:
    if array.ndim <= axis or array.shape[axis] != rows:
        raise ValueError(f"'{name}' has shape {array.shape} for a batch of {rows}")


def _pairs(one: Arrays, other: Arrays) -> Iterator[tuple[str, tuple[Array, Array]]]:
    for name in sorted(one.keys() | other.keys()):
        pair = one.get(name), other.get(name)
        if pair[0] is None or pair[1] is None or pair[0].shape != pair[1].shape or pair[0].dtype != pair[1].dtype:
            raise ValueError(f"'{name}' has another shape or dtype in another batch")
        yield name, (pair[0], pair[1])


def _share(one: Array, other: Array) -> float:
    if one.dtype.kind != "f":
        return float((one != other).mean()) if one.size else 0.0
    with np.errstate(over="ignore"):  # what is infinitely far apart differs
        spread = np.median(np.abs(one - np.median(one, axis=0)), axis=0) if one.size else 0.0
        spread = np.where(np.isfinite(spread), spread, 0.0)  # else nothing would be too far apart
        return float((np.abs(one - other) > _RELATIVE * np.abs(one) + _OF_SPREAD * spread).mean()) if one.size else 0.0
