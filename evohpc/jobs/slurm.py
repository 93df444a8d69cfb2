"""Runs job arrays on a Slurm cluster.

Whatever happens between this process and Slurm, an array does its work once. Its name and its split are on disk before
sbatch is called. A driver that finds them there asks Slurm by name, and looks for the claim that a running array
leaves, before it calls sbatch. And of two arrays with the same work, which only a lost answer can cause, the second
finds the claim of the first and ends.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from submitit.core.utils import DelayedSubmission

from evohpc.config import EvaluationConfig
from evohpc.errors import EvaluationError
from evohpc.evaluate import run_array_task
from evohpc.jobs import array_script, array_task, arrays, scheduler
from evohpc.jobs.array_script import ArrayShape
from evohpc.jobs.arrays import Array
from evohpc.jobs.base import TaskReport, TaskState
from evohpc.jobs.scheduler import Answer, Row, Silence
from evohpc.rundir import RoundDir
from evohpc.site import Site

log = logging.getLogger(__name__)

_SLOWER = 1.5
"""The pause between questions grows by this factor while nothing changes."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One EvaluationJob."""

    round: int
    folder: Path
    size: int
    candidates: int
    """The most that one of its tasks evaluates."""


class SlurmRunner:
    """A `JobRunner` for a Slurm cluster. Its jobs outlive it."""

    def __init__(
        self,
        run: Path,
        site: Site,
        evaluation: EvaluationConfig,
        work: array_task.Work = run_array_task,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a runner for the run in `run`. It does not talk to Slurm yet.

        Raises:
            EvaluationError: Slurm cannot work in a folder of that name.
        """
        if "%" in str(run.resolve()):
            raise EvaluationError(f"{run}: Slurm reads a % in a path as a pattern; take another run folder")
        self._run, self._site, self._evaluation = run.resolve(), site, evaluation
        self._work, self._clock = work, clock
        self._jobs: dict[str, _Job] = {}
        self._arrays: dict[str, list[Array]] = {}
        self._wanted: set[str] = set()
        self._largest = 0
        self._has_accounting = True
        self._ask_history = False
        self._interval = site.scheduler.poll_s
        self._next_question = self._next_submission = float("-inf")

    def submit(self, spec: Path, name: str, size: int) -> None:
        """See `JobRunner.submit`.

        Raises:
            EvaluationError: Slurm refuses such a job, and will again.
        """
        self._wanted.add(name)
        if name in self._jobs:
            return
        payload = json.loads(spec.read_bytes())["payload"]
        folder = RoundDir(spec.parent.parent).slurm / name
        self._jobs[name] = _Job(int(payload["round"]), folder, size, max(map(len, payload["tasks"])))
        self._split()
        self._hand_over()

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        """See `JobRunner.poll`. Slurm is asked only every `scheduler.poll_s`; in between, the last answer holds.

        Raises:
            EvaluationError: Slurm refuses a job, and will again.
        """
        self._wanted = set(sizes)  # the others have all their results, whatever Slurm still runs of them
        self._split()
        if self._clock() >= self._next_question:
            self._ask([array for name in sizes for array in self._arrays.get(name, ())])
        self._hand_over()
        return {name: self._reports(name, size) for name, size in sizes.items()}

    def cancel(self, names: Collection[str]) -> None:
        """See `JobRunner.cancel`. It works for jobs that another process submitted, too.

        Raises:
            EvaluationError: Slurm does not answer.
        """
        for name in names:
            for round in (self._run / "rounds").glob("*"):
                arrays.fence_off(round, name)
            for array in self._arrays.get(name, ()):
                array.end("cancelled")
        try:
            rows = [row for row in scheduler.queue() if arrays.belongs(row.name, names)]
            scheduler.cancel({row.job_id for row in rows if row.report.state is not TaskState.ENDED})
        except Silence as silence:
            raise EvaluationError(f"Slurm does not answer ({silence}); cancel again when it does") from None

    def close(self) -> None:
        """Nothing is held here; the jobs go on."""

    def _split(self) -> None:
        """Split new jobs into arrays, once Slurm has said how large one may be."""
        new = {name: job for name, job in self._jobs.items() if name not in self._arrays}
        if not new:
            return
        try:
            self._largest = self._largest or scheduler.max_array_size()
        except Silence as silence:
            log.warning("Slurm does not answer (%s); trying again", silence)
            return
        largest = min(self._largest, self._site.scheduler.max_queued or self._largest)
        for name, job in new.items():
            self._arrays[name] = arrays.split(job.folder, name, job.size, largest)
            for array in self._arrays[name]:
                if array.was_handed_over and not array.job_id:
                    array.doubtful_since = self._clock()
                    self._next_question = float("-inf")

    def _reports(self, name: str, size: int) -> tuple[TaskReport, ...]:
        if name in self._arrays:
            return tuple(report for array in self._arrays[name] for report in array.reports)
        state = TaskState.WAITING if name in self._jobs else TaskState.ENDED
        return (TaskReport(state),) * size

    def _hand_over(self) -> None:
        """Call sbatch for the next array that waits for it, if it is time."""
        waiting = [(name, array) for name, array in self._wanted_arrays() if self._is_due(array)]
        if waiting and self._clock() >= self._next_submission:
            self._sbatch(*waiting[0])

    def _is_due(self, array: Array) -> bool:
        if array.job_id or array.doubtful_since is not None or array.is_over:
            return False
        limit = self._site.scheduler.max_queued
        return limit is None or self._queued() + array.size <= limit

    def _queued(self) -> int:
        known = [array for _, array in self._wanted_arrays() if array.job_id or array.doubtful_since is not None]
        return sum(report.state is not TaskState.ENDED for array in known for report in array.reports)

    def _wanted_arrays(self) -> list[tuple[str, Array]]:
        return [(name, array) for name, group in self._arrays.items() if name in self._wanted for array in group]

    def _sbatch(self, name: str, array: Array) -> None:
        array.refresh()
        if array.is_over:
            return
        job = self._jobs[name]
        call = DelayedSubmission(array_task.run, self._work, str(self._run), job.round, name, array.first)
        shape = ArrayShape(array.name, array.size, job.candidates)
        script = array_script.write(array.folder, shape, call, self._site, self._evaluation)
        try:
            answer = scheduler.submit(script)
        except EvaluationError:
            array.forget()
            raise
        self._take_answer(array, answer)

    def _take_answer(self, array: Array, submission: scheduler.Submission) -> None:
        now, schedule = self._clock(), self._site.scheduler
        self._next_submission = now + schedule.submit_every_s
        if submission.answer is Answer.ACCEPTED:
            array.accept(submission.job_id)
            self._next_question = min(self._next_question, now + schedule.poll_s)
            array.reports = [TaskReport(TaskState.WAITING)] * array.size
        elif submission.answer is Answer.LOST:
            log.warning("%s: the answer of sbatch was lost (%s); asking Slurm by name", array.name, submission.message)
            array.doubtful_since = now
        else:
            array.forget()
            self._next_submission = now + schedule.poll_s
            state = TaskState.WAITING if self._queued() else TaskState.HELD
            array.reports = [TaskReport(state, reason=f"sbatch: {submission.message}")] * array.size

    def _ask(self, candidates: Sequence[Array]) -> None:
        """Ask Slurm once about all arrays that are not over, and take in the answer."""
        asked = [a for a in candidates if (a.job_id or a.doubtful_since is not None) and not a.is_over]
        if not asked:
            return
        before = [list(array.reports) for array in asked]
        self._ask_history &= any(array.is_missing_tasks for array in asked)
        try:
            self._take_history(asked) if self._ask_history else self._take_queue(asked)
        except Silence as silence:
            log.warning("Slurm does not answer (%s); its jobs go on, asking again", silence)
        self._ask_history = self._has_accounting and not self._ask_history and any(a.is_missing_tasks for a in asked)
        self._pause_questions(changed=before != [array.reports for array in asked])

    def _pause_questions(self, changed: bool) -> None:
        schedule = self._site.scheduler
        longer = min(self._interval * _SLOWER, max(schedule.poll_max_s, schedule.poll_s))
        self._interval = schedule.poll_s if changed or self._ask_history else longer
        self._next_question = self._clock() + self._interval

    def _take_queue(self, asked: Sequence[Array]) -> None:
        told: dict[str, list[Row]] = defaultdict(list)
        for row in scheduler.queue([array.name for array in asked]):
            told[row.name].append(row)
        now, settle_s = self._clock(), self._site.scheduler.settle_s
        for array in asked:
            rows = told[array.name]
            array.refresh()
            if not array.job_id and rows:
                array.accept(min((row.job_id for row in rows), key=int))
                log.info("%s: adopted job %s", array.name, array.job_id)
            if array.job_id:
                array.note_queue([row for row in rows if row.job_id == array.job_id], now, settle_s)
            elif array.doubtful_since is not None and now - array.doubtful_since >= settle_s:
                array.doubtful_since = None

    def _take_history(self, asked: Sequence[Array]) -> None:
        rows = scheduler.history({array.job_id: array.name for array in asked if array.is_missing_tasks})
        if rows is None:
            self._has_accounting = False
            return
        for array in asked:
            array.note_history([row for row in rows if row.job_id == array.job_id])
