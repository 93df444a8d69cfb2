"""Hands the candidates of one round to an ArrayRunner until each has a final result.

What was handed out is on disk (jobs/<name>.json) before the runner hears of it, and a restarted driver offers all
unfinished jobs to the runner again under the same names: the runner adopts what it knows and starts what it does not.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from evohpc import envelopes
from evohpc.driver import rungs
from evohpc.errors import EnvelopeError, LeaseError, RunFolderError
from evohpc.files import write_once
from evohpc.jobs.base import ArrayRunner
from evohpc.messages import Attempt, EvaluationJob, Result, TaskReport, TaskState
from evohpc.run_folder import RoundDir, RunDir

_NOT_BEGUN = (TaskState.WAITING, TaskState.HELD)


@dataclass
class Dispatch:
    """The evaluations of one round."""

    run: RunDir
    run_id: str
    epoch: int
    round: int
    runner: ArrayRunner
    candidates_per_task: int
    grace_s: float
    """How long after a task ended its result may still appear (network file systems show files late)."""
    _jobs: dict[str, EvaluationJob] = field(default_factory=dict, init=False)
    _open: set[Attempt] = field(default_factory=set, init=False)
    _ended: dict[Attempt, tuple[float, TaskReport]] = field(default_factory=dict, init=False)
    held: list[str] = field(default_factory=list, init=False)
    """Why tasks wait for a person, as the scheduler says it."""
    waiting: int = field(default=0, init=False)
    """How many attempts had not begun, for want of a place, when the runner was asked last."""

    @property
    def in_flight(self) -> set[str]:
        """Candidates that were handed out and have no result yet."""
        return {attempt.candidate_id for attempt in self._open}

    def resume(self, attempted: Mapping[str, Sequence[Result]], pending: Collection[str]) -> None:
        """Offer the runner again what an earlier driver handed out and has no result yet.

        Raises:
            RunFolderError: a job's file was altered.
            EvaluationError, StorageError: see `ArrayRunner.submit`.
        """
        done = {Attempt(id, result.attempt) for id, results in attempted.items() for result in results}
        for path in sorted(self.run.round(self.round).jobs.glob("[!.]*.json")):
            job = self._read(path)
            waiting = {a for task in job.tasks for a in task if a.candidate_id in pending and a not in done}
            self._jobs[job.name] = job
            self._open |= waiting
            if waiting:
                self.runner.submit(job)

    def fresh(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Return those of these attempts that have not been handed out."""
        return [attempt for attempt in attempts if attempt not in self._open]

    def hand_out(self, attempts: Sequence[Attempt]) -> None:
        """Submit one job array for these attempts; those already handed out are left alone.

        Raises:
            LeaseError: another driver has handed out something meanwhile.
            EvaluationError, StorageError: see `ArrayRunner.submit`.
        """
        fresh = self.fresh(attempts)
        if not fresh:
            return
        job = EvaluationJob(self._next_name(), self.round, pack(fresh, self.candidates_per_task))
        path = self.run.round(self.round).job(job.name)
        if not write_once(path, envelopes.seal(self.run_id, self.epoch, job)):
            raise LeaseError(f"{path}: another driver has taken over this run; this one stops")
        self._jobs[job.name] = job
        self._open.update(fresh)
        self.runner.submit(job)

    def record(self, results: Sequence[Result]) -> None:
        """Stop waiting for the attempts that these results are of."""
        self._open.difference_update(Attempt(result.candidate_id, result.attempt) for result in results)

    def poll(self) -> None:
        """Ask the runner for the state of the tasks; remember when each was first seen to have ended.

        Raises:
            EvaluationError, StorageError: see `ArrayRunner.poll`.
        """
        jobs = {name: job for name, job in self._jobs.items() if self._waits_for(job)}
        reports = self.runner.poll({name: len(job.tasks) for name, job in jobs.items()}) if jobs else {}
        self.held = sorted({r.reason for task in reports.values() for r in task if r.state is TaskState.HELD})
        self.waiting = sum(len(task) for task, report in _both(jobs, reports) if report.state in _NOT_BEGUN)
        now = time.monotonic()
        self._ended = {a: (self._ended.get(a, (now,))[0], report) for a, report in self._ends(jobs, reports)}

    def mark_lost(self) -> None:
        """Write a machine fault as the result of each attempt whose task ended `grace_s` ago without a result.

        Call `poll`, then read the results (`Intake.collect`), then call this: a result that was written before its task
        ended is seen in this order.

        Raises:
            StorageError: the file system refused.
        """
        now = time.monotonic()
        for attempt, (since, report) in self._ended.items():
            if attempt in self._open and now - since >= self.grace_s:
                self._write(attempt, report, datetime.now(UTC) - timedelta(seconds=now - since))

    def _next_name(self) -> str:
        last = max((int(name.rpartition("-")[2]) for name in self._jobs), default=-1)
        return job_name(self.run_id, self.run.round(self.round), last + 1)

    def _read(self, path: Path) -> EvaluationJob:
        try:
            return envelopes.unseal(path.read_bytes(), self.run_id, EvaluationJob)
        except EnvelopeError as error:
            raise RunFolderError(f"{path}: {error}; delete it if no job of that name runs any more") from None

    def _write(self, attempt: Attempt, report: TaskReport, ended: datetime) -> None:
        result = Result(
            candidate_id=attempt.candidate_id,
            attempt=attempt.attempt,
            status=report.fault,
            detail=report.reason or "ended without a result",
            host=report.host,
            finished_at=ended.isoformat(timespec="seconds"),
        )
        path = self.run.round(self.round).result(attempt.candidate_id, attempt.attempt)
        write_once(path, envelopes.seal(self.run_id, self.epoch, result))

    def _waits_for(self, job: EvaluationJob) -> bool:
        return any(attempt in self._open for task in job.tasks for attempt in task)

    def _ends(
        self, jobs: Mapping[str, EvaluationJob], reports: Mapping[str, Sequence[TaskReport]]
    ) -> Iterator[tuple[Attempt, TaskReport]]:
        for task, report in _both(jobs, reports):
            if report.state is TaskState.ENDED:
                yield from ((attempt, report) for attempt in task if attempt in self._open)


def _both(
    jobs: Mapping[str, EvaluationJob], reports: Mapping[str, Sequence[TaskReport]]
) -> Iterator[tuple[Sequence[Attempt], TaskReport]]:
    """Yield the attempts of each task, and what the runner says of it."""
    for name, job in jobs.items():
        yield from zip(job.tasks, reports.get(name, ()), strict=False)


def job_name(run_id: str, round: RoundDir, number: int) -> str:
    """Return the name of a round's EvaluationJob of that number, from 0."""
    return f"{run_id}-{round.name}-{number:02d}"


def pack(attempts: Sequence[Attempt], candidates_per_task: int) -> tuple[tuple[Attempt, ...], ...]:
    """Return the attempts of each array task.

    An attempt after a machine fault has a task of its own: another candidate of its task may have ended the last.
    """
    again = [attempt for attempt in attempts if _is_again(attempt)]
    first = [attempt for attempt in attempts if not _is_again(attempt)]
    packed = [tuple(first[i : i + candidates_per_task]) for i in range(0, len(first), candidates_per_task)]
    return (*packed, *((attempt,) for attempt in again))


def _is_again(attempt: Attempt) -> bool:
    return attempt.attempt - (attempt.rung or 0) > 1


def next_attempts(
    pending: Collection[str], attempted: Mapping[str, Sequence[Result]], *, has_rungs: bool = False
) -> list[Attempt]:
    """Return the attempt that each pending candidate is due: the first, or the one after its last machine fault, or
    after the rung that it passed."""
    return [_next_attempt(id, attempted.get(id, ()), has_rungs) for id in sorted(pending)]


def _next_attempt(id: str, results: Sequence[Result], has_rungs: bool) -> Attempt:
    number = results[-1].attempt + 1 if results else 1
    return Attempt(id, number, rungs.passed(results) if has_rungs else None)
