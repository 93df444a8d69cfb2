"""One process's dealings with Slurm: it hands jobs to sbatch, and asks about all of them seldom enough."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from evohpc.config.site import SchedulerSection
from evohpc.errors import EvaluationError
from evohpc.messages import TaskReport, TaskState
from evohpc.slurm import arrays, commands
from evohpc.slurm.arrays import Array
from evohpc.slurm.commands import Answer, NoAnswer, Row

log = logging.getLogger(__name__)

_SLOWER = 1.5
"""The pause between questions grows by this factor while nothing changes."""


class SlurmClient:
    """Hands arrays to sbatch, and asks Slurm about all of them with one question at a time."""

    def __init__(self, schedule: SchedulerSection, clock: Callable[[], float] = time.monotonic) -> None:
        self._schedule, self._clock = schedule, clock
        self._has_accounting = True
        self._ask_history = False
        self._interval = schedule.poll_s
        self._next_question = self._next_submission = float("-inf")

    @property
    def may_submit(self) -> bool:
        """Whether the last call of sbatch is long enough ago for another."""
        return self._clock() >= self._next_submission

    def adopt(self, array: Array) -> None:
        """Take over an array that an earlier process may have handed to sbatch: Slurm is asked for it next."""
        if array.was_handed_over and not array.job_id:
            array.doubtful_since = self._clock()
            self._next_question = float("-inf")

    def submit(self, array: Array, script: Path, will_have_room: bool) -> None:
        """Hand an array to sbatch, and note in it what came of that.

        Args:
            will_have_room: jobs of this run are queued; once they are over, a queue that is full now takes more.

        Raises:
            EvaluationError: Slurm refuses such a job, and will again.
        """
        try:
            answer = commands.submit(script)
        except EvaluationError:
            array.forget()
            raise
        self._take_answer(array, answer, will_have_room)

    def ask(self, candidates: Sequence[Array]) -> None:
        """If it is time, ask Slurm once about all arrays that are handed over and not over, and take in the answer."""
        if self._clock() < self._next_question:
            return
        asked = [a for a in candidates if (a.job_id or a.doubtful_since is not None) and not a.is_over]
        if not asked:
            return
        before = [list(array.reports) for array in asked]
        self._ask_history &= any(array.is_missing_tasks for array in asked)
        try:
            self._take_history(asked) if self._ask_history else self._take_queue(asked)
        except NoAnswer as error:
            log.warning("Slurm does not answer (%s); its jobs go on, asking again", error)
        self._ask_history = self._has_accounting and not self._ask_history and any(a.is_missing_tasks for a in asked)
        self._pause_questions(changed=before != [array.reports for array in asked])

    def _take_answer(self, array: Array, submission: commands.Submission, will_have_room: bool) -> None:
        now, schedule = self._clock(), self._schedule
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
            state = TaskState.WAITING if will_have_room else TaskState.HELD
            array.reports = [TaskReport(state, reason=f"sbatch: {submission.message}")] * array.size

    def _pause_questions(self, changed: bool) -> None:
        schedule = self._schedule
        longer = min(self._interval * _SLOWER, max(schedule.poll_max_s, schedule.poll_s))
        self._interval = schedule.poll_s if changed or self._ask_history else longer
        self._next_question = self._clock() + self._interval

    def _take_queue(self, asked: Sequence[Array]) -> None:
        told: dict[str, list[Row]] = defaultdict(list)
        for row in commands.queue([array.name for array in asked]):
            told[row.name].append(row)
        now, settle_s = self._clock(), self._schedule.settle_s
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
        rows = commands.history({array.job_id: array.name for array in asked if array.is_missing_tasks})
        if rows is None:
            self._has_accounting = False
            return
        for array in asked:
            array.note_history([row for row in rows if row.job_id == array.job_id])


def end_jobs(names: Collection[str]) -> None:
    """End what runs or waits of the jobs with these names, whoever submitted them.

    Raises:
        EvaluationError: Slurm does not answer.
    """
    try:
        rows = [row for row in commands.queue() if arrays.belongs(row.name, names)]
        commands.cancel({row.job_id for row in rows if row.report.state is not TaskState.ENDED})
    except NoAnswer as error:
        raise EvaluationError(f"Slurm does not answer ({error}); cancel again when it does") from None


def check_folder(run: Path) -> Path:
    """Return the absolute path of a run folder.

    Raises:
        EvaluationError: Slurm cannot work in a folder of that name.
    """
    if "%" in str(run.resolve()):
        raise EvaluationError(f"{run}: Slurm reads a % in a path as a pattern; take another run folder")
    return run.resolve()
