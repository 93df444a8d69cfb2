"""Submits jobs to Slurm and asks for their states, all with one request, at intervals that a site can bear."""

from __future__ import annotations

import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from evohpc.config.site import SchedulerSection
from evohpc.errors import EvaluationError
from evohpc.messages import TaskReport, TaskState
from evohpc.slurm import arrays, commands
from evohpc.slurm.arrays import Array
from evohpc.slurm.commands import Answer, NoAnswer
from evohpc.slurm.rows import Row

log = logging.getLogger(__name__)

_SLOWER = 1.5
"""The pause between questions grows by this factor while nothing changes."""


class SlurmClient:
    """Submits arrays by sbatch, and asks Slurm for the states of all of them with one request."""

    def __init__(
        self,
        schedule: SchedulerSection,
        clock: Callable[[], float] = time.monotonic,
        clusters: Collection[str] = commands.LOCAL,
    ) -> None:
        self._schedule, self._clock, self._clusters = schedule, clock, clusters
        self._has_accounting = True
        self._asks_accounting = False
        self._interval = schedule.poll_s
        self._next_question = self._next_submission = float("-inf")

    @property
    def may_submit(self) -> bool:
        """Whether the last call of sbatch is long enough ago for another."""
        return self._clock() >= self._next_submission

    def adopt(self, array: Array) -> None:
        """Adopt an array that an earlier process may have submitted: the next request asks Slurm for its name."""
        if array.was_handed_over and not array.job_id:
            array.doubtful_since = self._clock()
            self._next_question = float("-inf")

    def submit(self, array: Array, script: Path, will_have_room: bool) -> None:
        """Call sbatch for an array, and record its answer in the array.

        Args:
            will_have_room: whether jobs of this run are queued: a queue that is full now takes more when they end.

        Raises:
            EvaluationError: Slurm refuses such a job, and will again.
        """
        try:
            answer = commands.submit(script)
        except EvaluationError:
            array.forget()
            raise
        self._record_answer(array, answer, will_have_room)

    def ask(self, candidates: Sequence[Array]) -> bool:
        """If the interval is over, ask Slurm for the states of all arrays that are submitted and have not ended.

        Returns:
            whether Slurm was asked, and answered.
        """
        if self._clock() < self._next_question:
            return False
        open_arrays = [a for a in candidates if (a.job_id or a.doubtful_since is not None) and not a.is_over]
        if not open_arrays:
            return False
        has_answered = True
        before = [list(array.reports) for array in open_arrays]
        self._asks_accounting &= any(array.is_missing_tasks for array in open_arrays)
        try:
            self._ask_accounting(open_arrays) if self._asks_accounting else self._ask_queue(open_arrays)
        except NoAnswer as error:
            log.warning("Slurm does not answer (%s); its jobs go on, asking again", error)
            has_answered = False
        self._asks_accounting = (
            self._has_accounting and not self._asks_accounting and any(a.is_missing_tasks for a in open_arrays)
        )
        self._pause_questions(changed=before != [array.reports for array in open_arrays])
        return has_answered

    def _record_answer(self, array: Array, submission: commands.Submission, will_have_room: bool) -> None:
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
        self._interval = schedule.poll_s if changed or self._asks_accounting else longer
        self._next_question = self._clock() + self._interval

    def _ask_queue(self, open_arrays: Sequence[Array]) -> None:
        rows_of: dict[str, list[Row]] = defaultdict(list)
        for row in commands.queue([array.name for array in open_arrays], self._clusters):
            rows_of[row.name].append(row)
        now, settle_s = self._clock(), self._schedule.settle_s
        for array in open_arrays:
            rows = rows_of[array.name]
            array.refresh()
            if not array.job_id and rows:
                array.accept(min((row.job_id for row in rows), key=int))
                log.info("%s: adopted job %s", array.name, array.job_id)
            if array.job_id:
                array.record_queue([row for row in rows if row.job_id == array.job_id], now, settle_s)
            elif array.doubtful_since is not None and now - array.doubtful_since >= settle_s:
                array.doubtful_since = None

    def _ask_accounting(self, open_arrays: Sequence[Array]) -> None:
        missing = {array.job_id: array.name for array in open_arrays if array.is_missing_tasks}
        rows = commands.history(missing, self._clusters)
        if rows is None:
            self._has_accounting = False
            return
        for array in open_arrays:
            array.record_history([row for row in rows if row.job_id == array.job_id])


def end_jobs(names: Collection[str], clusters: Collection[str] = commands.LOCAL) -> None:
    """End the jobs with these names that run or wait on some clusters, whichever process submitted them.

    Raises:
        EvaluationError: Slurm does not answer.
    """
    try:
        commands.end([row for row in commands.queue(clusters=clusters) if arrays.belongs(row.name, names)])
    except NoAnswer as error:
        raise EvaluationError(f"Slurm does not answer ({error}); cancel again when it does") from None


def check_folder(run: Path) -> Path:
    """Return the absolute path of a run folder.

    Raises:
        EvaluationError: Slurm cannot work in a folder of that name.
    """
    path = run.resolve()
    if odd := re.search(r"[%\\]", str(path)):  # sbatch(1), filename pattern
        raise EvaluationError(f"{run}: Slurm reads a {odd[0]} in a path as a pattern; take another run folder")
    if "\n" in str(path):
        raise EvaluationError(f"{str(run)!r}: Slurm reads options line by line; take a run folder without a line break")
    return path
