"""The rungs of one round (`evaluation.rungs`, `repeats`): what each candidate is to be trained at next, and who is
dropped.

Which rung an attempt is for follows from the results before it: each TRAINED one is a rung passed. Who goes on is
decided once, when all have been trained at a rung, and stands in rounds/NNN/rung-K.json. Each of the others gets a
result that says so, as its next attempt: so result files tell all, and only candidates of the last rung are TRAINED in
the end. Who was trained by the whole recipe as often as it must be gets their mean, in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from evohpc import envelopes
from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.rungs import Rung
from evohpc.driver import repeats
from evohpc.errors import EnvelopeError, RunFolderError
from evohpc.evolution import population
from evohpc.files import write_once
from evohpc.messages import SEED_ROUND, Result, Status
from evohpc.run_folder import RoundDir

Attempted = Mapping[str, Sequence[Result]]
"""All results of candidates that wait for a final one, by candidate, in order of attempt."""


@dataclass(frozen=True)
class Course:
    """The trainings that a candidate goes through, one after the other, if none fails and it is not dropped."""

    rungs: tuple[Rung, ...] = ()
    """Those below the last."""
    repeats: int = 0
    """Trainings by the whole recipe after the first."""

    @property
    def trainings(self) -> int:
        """How many there are in all."""
        return len(self.rungs) + 1 + self.repeats

    @property
    def is_single(self) -> bool:
        """There is one training, and what it measures is the outcome."""
        return self.trainings == 1


def of_round(config: EvaluationConfig, round: int) -> Course:
    """Return what the candidates of a round go through: seeds are trained once, as parents whatever they measure."""
    return Course() if round == SEED_ROUND else Course(config.rungs, config.repeats)


def decision(folder: RoundDir, rung: int) -> Path:
    """Return the file that says who has passed a rung, from 0."""
    return folder.path / f"rung-{rung}.json"


def passed(results: Sequence[Result]) -> int:
    """Return how many rungs a candidate has passed."""
    return len(_trained(results))


def is_final(results: Sequence[Result], course: Course, retries: int) -> bool:
    """Say whether the last of a candidate's results is its outcome."""
    last = results[-1]
    if last.status is Status.TRAINED:
        return passed(results) == course.trainings + (course.repeats > 0)  # of several trainings, their mean
    return not last.status.is_machine_fault or is_given_up(results, retries)


def is_given_up(results: Sequence[Result], retries: int) -> bool:
    """Say whether machine faults have used up the attempts at a candidate."""
    return results[-1].status.is_machine_fault and len(results) - passed(results) > retries


class _Measured(NamedTuple):
    id: str
    error: float | None
    fitness: float | None


@dataclass(frozen=True)
class Rungs:
    """The rungs of one round, for the driver."""

    folder: RoundDir
    run_id: str
    epoch: int
    course: Course

    def due(self, pending: Collection[str], attempted: Attempted, *, is_whole: bool = True) -> list[str]:
        """Return which candidates wait for an attempt, and not until a rung is decided, in order of id. What can be
        decided now is.

        Args:
            is_whole: all children of the round are known; until they are, nothing can be decided.

        Raises:
            RunFolderError: an earlier decision cannot be read.
            StorageError: the file system refused.
        """
        if self.course.is_single:
            return sorted(pending)
        if is_whole:
            self._settle(pending, attempted)
        rung_of = {id: passed(attempted.get(id, ())) for id in sorted(pending)}
        for id in (id for id, rung in rung_of.items() if rung == self.course.trainings):
            self._write(repeats.mean(_trained(attempted[id])[len(self.course.rungs) :]))
        decided = [decision(self.folder, number) for number in range(len(self.course.rungs))]
        going_on = [self._read(number) if path.exists() else set() for number, path in enumerate(decided)]
        return [id for id, rung in rung_of.items() if self._is_due(id, rung, going_on)]

    def _is_due(self, id: str, rung: int, going_on: Sequence[set[str]]) -> bool:
        is_free = rung == 0 or rung > len(going_on)  # the first training, or another one by the whole recipe
        return rung < self.course.trainings and (is_free or id in going_on[rung - 1])

    def _settle(self, pending: Collection[str], attempted: Attempted) -> None:
        """Decide who passes a rung, if that can be decided now, and write the results of those that do not."""
        for number, rung in enumerate(self.course.rungs):
            waiting = [id for id in pending if passed(attempted.get(id, ())) == number + 1]
            if not decision(self.folder, number).exists():
                if not waiting or any(passed(attempted.get(id, ())) <= number for id in pending):
                    return
                self._decide(number, rung, [attempted[id][-1] for id in waiting])
            going_on = self._read(number)
            for id in sorted(set(waiting).difference(going_on)):
                self._drop(id, attempted[id], number, len(going_on))

    def _decide(self, number: int, rung: Rung, results: Sequence[Result]) -> None:
        measured = (_Measured(result.candidate_id, result.error, result.fitness) for result in results)
        going_on = population.promoted(measured, rung.keep)
        write_once(decision(self.folder, number), json.dumps(going_on, indent=1) + "\n")

    def _read(self, number: int) -> set[str]:
        path = decision(self.folder, number)
        try:
            return set(envelopes.decode(path.read_bytes(), list[str]))
        except EnvelopeError as error:
            raise RunFolderError(f"{path}: {error}; take it from a backup") from None

    def _drop(self, id: str, results: Sequence[Result], number: int, going_on: int) -> None:
        result = Result(
            candidate_id=id,
            attempt=results[-1].attempt + 1,
            status=Status.DROPPED,
            detail=f"not among the {going_on} that passed rung {number}",
        )
        self._write(result)

    def _write(self, result: Result) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        sealed = envelopes.seal(self.run_id, self.epoch, replace(result, finished_at=now))
        write_once(self.folder.result(result.candidate_id, result.attempt), sealed)


def _trained(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result.status is Status.TRAINED]
