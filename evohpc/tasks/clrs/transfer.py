"""Many algorithms of CLRS-30 as one task: what finished models are worth on each (EvoPrompting, Table 3).

A candidate is a model as in a search, and says at its end what it is trained on, and which repeat of that it is:

    ALGORITHM = "bfs"
    REPEAT = 0

So the trainings of a whole table are the candidates of one run, in as many jobs at once as there is room for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from evohpc.evolution import population
from evohpc.messages import TaskInterface
from evohpc.tasks.base import Score, Splits
from evohpc.tasks.clrs.features import algorithms as all_algorithms
from evohpc.tasks.clrs.task import Clrs30
from evohpc.tasks.options import checked

if TYPE_CHECKING:
    from torch import nn

    from evohpc.tasks.base import Arrays

PUBLISHED = {"steps": 10_000, "weight_decay": 0.0}
"""Options of `Clrs30` that the published tables have and a search has not."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a model is trained on."""

    algorithm: str
    repeat: int
    """Its weights and its data are drawn by a seed of their own."""


class Transfer:
    """Trains each candidate on the algorithm that it names, and tests it on that one's published runs of 64 nodes."""

    hidden_modules = Clrs30.hidden_modules

    def __init__(self, *, algorithms: Sequence[str] = (), **recipe: Any) -> None:
        """Take the algorithms, all 30 if none is named, and options of `Clrs30` that differ from the published recipe.

        Raises:
            TaskError: an unknown algorithm.
            ValueError: a wrong option.
        """
        if fixed := sorted({"algorithm", "evaluate_on"} & recipe.keys()):
            raise ValueError(f"{fixed[0]} is none of its options; it has `algorithms`, and tests on 'test'")
        names = dict.fromkeys(algorithms) or all_algorithms()
        options = {**PUBLISHED, **checked(Clrs30, recipe), "evaluate_on": "test"}
        self.tasks = {name: Clrs30(algorithm=name, **options) for name in names}
        """By algorithm."""

    @property
    def interface(self) -> TaskInterface:
        """What the driver must know."""
        return replace(next(iter(self.tasks.values())).interface, name="clrs_transfer")

    @property
    def checkpoints(self) -> int:
        """How many training keeps, on each algorithm."""
        return next(iter(self.tasks.values())).checkpoints

    def prepare(self, seed: int, secret: int | None = None) -> Splits:
        """Draw the published test set of each algorithm; names of arrays begin with the algorithm's."""
        inputs: dict[str, np.ndarray[Any, Any]] = {}
        labels: dict[str, np.ndarray[Any, Any]] = {}
        train: Arrays = {}
        for name, task in self.tasks.items():
            splits = task.prepare(seed, secret)
            train = splits.train
            inputs |= _under(name, splits.inputs)
            labels |= _under(name, splits.labels)
        return Splits(train, inputs, labels)

    def build(self, module: ModuleType) -> nn.Module:
        """Construct the network around the candidate's `Triplets`, from weights that its repeat alone draws."""
        import torch

        assigned = Assignment(module.ALGORITHM, module.REPEAT)
        torch.manual_seed(_seed(torch.initial_seed(), assigned.repeat))
        model = self.tasks[assigned.algorithm].build(module)
        model.assigned = assigned  # type: ignore[assignment]
        return model

    def train(self, model: nn.Module, data: Arrays, seed: int) -> Iterator[dict[str, float]]:
        """See `Clrs30.train`."""
        assigned = _assigned(model)
        return self.tasks[assigned.algorithm].train(model, data, _seed(seed, assigned.repeat))

    def predict(self, model: nn.Module, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Return the answers to its own algorithm's runs."""
        name = _assigned(model).algorithm
        return _under(name, self.tasks[name].predict(model, _of(name, inputs)))

    def rows(self, arrays: Arrays) -> dict[str, tuple[str, int]]:
        """Each algorithm has rows of its own."""
        prefixes = {name: name.partition(".")[0] for name in arrays}
        return {name: (prefix, 1 if name.startswith(f"{prefix}.hint.") else 0) for name, prefix in prefixes.items()}

    def score(self, predictions: list[dict[str, np.ndarray[Any, Any]]], labels: Arrays) -> Score:
        """Score the answers on the algorithm whose they are. The metric of that name says so: what was answered is the
        candidate's word, and what it was asked is not."""
        answered = {key.partition(".")[0] for checkpoint in predictions for key in checkpoint}
        if len(answered) != 1 or not answered <= self.tasks.keys():
            raise ValueError(f"answers one algorithm of the task, not {', '.join(sorted(answered)) or 'none'}")
        (name,) = answered
        found = self.tasks[name].score([_of(name, checkpoint) for checkpoint in predictions], _of(name, labels))
        return replace(found, metrics={**found.metrics, name: found.metrics["test_accuracy"]})

    def fitness(self, num_params: int, error: float) -> float:
        """As in a search."""
        return population.fitness(num_params, error)


def _assigned(model: nn.Module) -> Assignment:
    return cast(Assignment, model.assigned)


def _seed(seed: int, repeat: int) -> int:
    return int(np.random.SeedSequence((seed, repeat)).generate_state(1)[0])


def _under(name: str, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    return {f"{name}.{key}": array for key, array in arrays.items()}


def _of(name: str, arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
