"""Seeds evaluated as a search does, with what a search does not keep: predictions, memory, the log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evohpc.doctor.base import Finding, fault, ok, warning
from evohpc.errors import TaskCodeError
from evohpc.evaluation import verdict
from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.verdict import Predictions
from evohpc.evolution.entry import sized
from evohpc.messages import Attempt, Candidate, Isolation, Result, Status
from evohpc.sandbox.base import Outcome, Runtime, Stage
from evohpc.tasks.base import Score, Task
from evohpc.tasks.program import is_program


@dataclass
class Trained:
    """What became of a seed."""

    seed: Candidate
    result: Result
    seconds: float
    limit_s: float
    peak_memory: int
    """Bytes."""
    scored: list[tuple[list[Predictions], Score]]
    """What `Task.score` was called with, and its answers."""
    log: str

    @property
    def error(self) -> float:
        """Of the seed, once trained."""
        assert self.result.error is not None
        return self.result.error

    @property
    def predictions(self) -> Predictions:
        """Of the checkpoint that counts."""
        return self.scored[-1][0][0]


@dataclass
class _Meter:
    """A runtime that notes how much memory its stages took."""

    inner: Runtime
    peak: int = 0

    @property
    def isolation(self) -> Isolation:
        return self.inner.isolation

    def run(self, stage: Stage) -> Outcome:
        outcome = self.inner.run(stage)
        self.peak = max(self.peak, outcome.peak_memory)
        return outcome

    def expect_another(self) -> None:
        self.inner.expect_another()

    def end_candidate(self) -> None:
        self.inner.end_candidate()

    def close(self) -> None:
        self.inner.close()


class _Witness:
    """A task that notes what it is asked to score."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.__module__ = task.__module__  # where the line of a fault is looked for
        self.scored: list[tuple[list[Predictions], Score]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def score(self, predictions: list[Predictions], labels: Mapping[str, Any]) -> Score:
        answer = self._task.score(predictions, labels)
        self.scored.append((predictions, answer))
        return answer


@dataclass
class Rehearsal:
    """Evaluates seeds one by one."""

    evaluator: Evaluator
    task: Task
    _attempts: int = field(default=0, init=False)

    @property
    def labels(self) -> Predictions:
        """Of the validation split."""
        return self.evaluator.labels

    def evaluate(self, seed: Candidate, seconds: float) -> Trained:
        """Train and score a seed, within these seconds or those that a search would give it."""
        config = self.evaluator.benchmark.config
        limit = min(seconds, config.time_limit_s)
        benchmark = replace(self.evaluator.benchmark, config=config.model_copy(update={"time_limit_s": limit}))
        meter, witness, logs = _Meter(self.evaluator.runtime), _Witness(self.task), list[bytes]()
        watched = Evaluator(benchmark, meter, self.evaluator.versions)
        watched.__dict__["task"] = witness
        self._attempts += 1
        started = time.perf_counter()
        try:
            result: Result = watched.evaluate(Attempt(seed.id, self._attempts), seed.source.encode(), logs.append)
        except TaskCodeError as error:
            result = Result(seed.id, self._attempts, Status.TASK_ERROR, str(error))
        took = time.perf_counter() - started
        log = b"".join(logs).decode(errors="replace")
        return Trained(seed, result, took, limit, meter.peak, witness.scored, log)

    def summary(self, found: Trained) -> str:
        """Return what a trained seed reached and took, beside what it may take."""
        result, config = found.result, self.evaluator.benchmark.config
        its = self.task.interface
        memory = f"{found.peak_memory >> 20} MiB of {config.memory_mb}"
        left = "" if is_program(self.task) else f", {len(found.scored[0][0])} checkpoints"
        return (
            f"error {result.error:.4g}, {its.metric} {result.metrics[its.metric]:.4g}, "
            f"{sized(result.num_params or 0, its.size_name)}, fitness {result.fitness:.4g}; "
            f"{found.seconds:.1f} s of {config.time_limit_s:g}, {memory}{left}"
        )

    def checkpoints(self, found: Trained) -> Iterator[Finding]:
        """Say whether training, if there is one, leaves more than the untrained model, and that first."""
        if is_program(self.task):
            return
        first, *others = found.scored[0][0]
        if others and verdict.score(self.task, [first], self.labels).error <= found.error:
            yield warning(
                "train",
                "the first checkpoint is as good as any, though it should be the untrained model",
                "yield before the first step, and see that training helps",
            )
        if not others:
            yield fault(
                "train",
                "it yields once, so the untrained model is all that is scored",
                "yield before the first step, and again at least after the last one",
            )

    def repeated(self, found: Trained, seconds: float) -> Finding:
        """Evaluate a seed once more: its score must follow from its seed, its program and the data."""
        again = self.evaluate(found.seed, seconds)
        if again.result.status is not Status.TRAINED:
            return warning("same score again", f"not this time: {again.result.detail}", "see that it has time enough")
        alike = _alike(again.predictions, found.predictions)
        why = "" if alike else ", of predictions that differ"
        if alike and again.error == found.error:
            return ok("same score again", f"{found.seed.id} has error {found.error:.4g} both times")
        return warning(
            "same score again",
            f"{found.seed.id} has error {found.error!r}, then {again.error!r}{why}",
            "draw all that is random from torch, numpy or random, which are seeded, or from the seed that train gets",
        )


def _alike(first: Predictions, second: Predictions) -> bool:
    """Say whether predictions are the same but for rounding. Other ones may come to the same error by chance."""
    return first.keys() == second.keys() and all(
        values.shape == second[name].shape and np.allclose(values, second[name], rtol=1e-3, equal_nan=True)
        for name, values in first.items()
    )
