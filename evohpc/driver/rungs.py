"""The rungs of one round (`evaluation.rungs`): what each candidate is to be trained at next, and who is dropped.

Which rung an attempt is for follows from the results before it: each TRAINED one is a rung passed. Who goes on is
decided once, when all have been trained at a rung, and stands in rounds/NNN/rung-K.json. Each of the others gets a
result that says so, as its next attempt: so result files tell all, and only candidates of the last rung are TRAINED in
the end.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from evohpc import envelopes
from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.rungs import Rung
from evohpc.errors import EnvelopeError, RunFolderError
from evohpc.evolution import population
from evohpc.files import write_once
from evohpc.messages import SEED_ROUND, Result, Status
from evohpc.run_folder import RoundDir

Attempted = Mapping[str, Sequence[Result]]
"""All results of candidates that wait for a final one, by candidate, in order of attempt."""


def of_round(config: EvaluationConfig, round: int) -> tuple[Rung, ...]:
    """Return the rungs below the last; none for seeds, which are parents whatever they measure."""
    return () if round == SEED_ROUND else config.rungs


def decision(folder: RoundDir, rung: int) -> Path:
    """Return the file that says who has passed a rung, from 0."""
    return folder.path / f"rung-{rung}.json"


def passed(results: Sequence[Result]) -> int:
    """Return how many rungs a candidate has passed."""
    return sum(result.status is Status.TRAINED for result in results)


def is_final(results: Sequence[Result], rungs: Sequence[Rung], retries: int) -> bool:
    """Say whether the last of a candidate's results is its outcome."""
    last = results[-1]
    if last.status is Status.TRAINED:
        return passed(results) > len(rungs)
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
    rungs: tuple[Rung, ...]

    def due(self, pending: Collection[str], attempted: Attempted) -> list[str]:
        """Return which candidates wait for an attempt, and not until a rung is decided, in order of id. What can be
        decided now is.

        Raises:
            RunFolderError: an earlier decision cannot be read.
            StorageError: the file system refused.
        """
        if not self.rungs:
            return sorted(pending)
        self._settle(pending, attempted)
        decided = [decision(self.folder, number) for number in range(len(self.rungs))]
        going_on = [self._read(number) if path.exists() else set() for number, path in enumerate(decided)]
        rung_of = {id: passed(attempted.get(id, ())) for id in sorted(pending)}
        return [id for id, rung in rung_of.items() if rung == 0 or id in going_on[rung - 1]]

    def _settle(self, pending: Collection[str], attempted: Attempted) -> None:
        """Decide who passes a rung, if that can be decided now, and write the results of those that do not."""
        for number, rung in enumerate(self.rungs):
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
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_once(self.folder.result(id, result.attempt), envelopes.seal(self.run_id, self.epoch, result))
