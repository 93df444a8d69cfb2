"""The LM job as a Slurm job of its own, one for each round; it goes on when the driver stops.

RUN/rounds/NNN/slurm/<run id>-NNN-lm/<k>/lm.sbatch   what sbatch gets; written before it is called
RUN/rounds/NNN/slurm/<run id>-NNN-lm/<k>/job_id      its answer
RUN/rounds/NNN/slurm/<run id>-NNN-lm/<k>/claim       link to the id of the job that runs
RUN/rounds/NNN/slurm/<run id>-NNN-lm/<k>/end         why it is over, though the completions are not complete

A job that ends early, whoever is to blame, is followed by the next k, which draws only what is missing: completions
depend on their seeds alone. Two jobs that draw the same, because a node that was cut off came back, write the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from evohpc import lm_job
from evohpc.errors import EvaluationError, LMError
from evohpc.jobs import arrays, client, lm_script
from evohpc.jobs.arrays import Array
from evohpc.jobs.base import TaskReport, TaskState
from evohpc.jobs.client import SlurmClient
from evohpc.jobs.lm_script import LMWork
from evohpc.rundir import RoundDir, write_atomic
from evohpc.site import Site

log = logging.getLogger(__name__)

_END = "end"


class SlurmLMJob:
    """An `LMJob` on a Slurm cluster. Its job outlives it."""

    def __init__(
        self,
        run: Path,
        site: Site,
        program: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make one for the run in `run`. It does not talk to Slurm yet.

        Args:
            site: a profile with a section `lm`.
            program: what the jobs run instead of the language model.

        Raises:
            EvaluationError: Slurm cannot work in a folder of that name.
        """
        assert site.lm is not None, "the site profile has no section lm"
        self._run, self._site, self._jobs = client.check_folder(run), site, site.lm
        self._program, self._clock = program, clock
        self._client = SlurmClient(site.scheduler, clock)
        self._request: Path | None = None
        self._job: Array | None = None
        self._over_since: float | None = None
        self._reached = (0, False)
        self._fruitless = 0
        self._told = TaskReport(TaskState.WAITING)

    @property
    def held(self) -> str:
        """See `LMJob.held`."""
        report = self._told
        return report.reason if self._job is not None and report.state is TaskState.HELD else ""

    def start(self, request: Path) -> None:
        """See `LMJob.start`.

        Raises:
            LMError: the request is damaged, or Slurm refuses such a job.
        """
        request = request.resolve()
        if self._job is not None and self._request == request:
            return
        self._request, self._fruitless = request, 0
        if not lm_job.is_complete(request):
            self._begin(request)

    def poll(self) -> bool:
        """See `LMJob.poll`. Slurm is asked only every `scheduler.poll_s`; in between, the last answer holds."""
        assert self._request is not None, "poll() before start()"
        if lm_job.is_complete(self._request):
            self._job = None
            return True
        if self._job is None:
            raise lm_job.failure(self._request, "it was cancelled")
        self._client.ask([self._job])
        self._hand_over(self._request, self._job)
        self._tell(self._job)
        if self._job.is_over and self._has_waited_for_files():
            self._follow_up(self._request, self._job)
        return False

    def cancel(self) -> None:
        """See `LMJob.cancel`. It ends the LM jobs of the whole run, those too that another process submitted.

        Raises:
            EvaluationError: Slurm does not answer.
        """
        self._job = None
        folders = list(self._run.glob("rounds/*/slurm/*-lm"))
        for folder in (job for parent in folders for job in parent.iterdir()):
            _conclude(folder, "cancelled")
        if folders:
            client.end_jobs([folder.name for folder in folders])

    def close(self) -> None:
        """Nothing is held here; the job goes on."""

    def _begin(self, request: Path) -> None:
        """Take up the last job that was not seen to be over, or the first that there never was."""
        number = 0
        while ((work := _work(request, number)).folder / _END).exists():
            number += 1
        self._job = Array(work.name, work.folder, 0, 1, lm_script.SCRIPT)
        self._over_since, self._reached = None, _reached(request)
        self._client.adopt(self._job)
        self._hand_over(request, self._job)

    def _hand_over(self, request: Path, job: Array) -> None:
        """Call sbatch, unless it was called, or may have been."""
        if job.job_id or job.doubtful_since is not None or job.is_over or not self._client.may_submit:
            return
        job.refresh()
        try:
            script = lm_script.write(_work(request, int(job.folder.name)), self._site, self._program)
            self._client.submit(job, script, will_have_room=False)
        except EvaluationError as error:
            self._job = None
            raise LMError(str(error)) from None

    def _tell(self, job: Array) -> None:
        """Log what the job waits for, whenever that changes."""
        if job.reports[0] != self._told:
            self._told = job.reports[0]
            what = f"{self._told.state}: {self._told.reason}" if self._told.reason else self._told.state
            log.info("LM job %s (%s): %s", job.name, job.job_id or "not submitted", what)

    def _has_waited_for_files(self) -> bool:
        """Say whether the job is over for so long that what it wrote would be seen."""
        if self._over_since is None:
            self._over_since = self._clock()
        return self._clock() - self._over_since >= self._site.scheduler.grace_s

    def _follow_up(self, request: Path, job: Array) -> None:
        """Begin the next job, unless the last has said why none will do, or several have brought nothing.

        Raises:
            LMError: it has, or they have.
        """
        reason = job.reports[0].reason
        _conclude(job.folder, reason)
        self._job = None
        if said := lm_job.last_error(_log_of(request, job)):
            raise lm_job.failure(request, said)
        self._fruitless = 0 if _reached(request) > self._reached else self._fruitless + 1
        if self._fruitless > self._jobs.retries:
            raise lm_job.failure(request, f"{self._fruitless} in a row brought nothing further; of the last, {reason}")
        log.warning("LM job %s ended early: %s; the next one goes on", job.name, reason)
        self._begin(request)


def _work(request: Path, number: int) -> LMWork:
    asked = lm_job.load_request(request)
    return lm_script.work_of(request, asked.run_id, number, Path(asked.model_path))


def _reached(request: Path) -> tuple[int, bool]:
    """Return how far a request is answered: completions, and whether the soft prompt is tuned."""
    return lm_job.progress(request)[0], RoundDir(request.parent).adapter.is_dir()


def _conclude(folder: Path, reason: str) -> None:
    """Note that a job is over, and have it end at once if it should start after all."""
    arrays.claim_for_nobody(folder)
    write_atomic(folder / _END, reason)


def _log_of(request: Path, job: Array) -> str:
    """Return what a job printed since it last started, '' if it never did; the jobs of a round share their log."""
    try:
        text = RoundDir(request.parent).lm_log.read_text(errors="replace")
    except OSError:
        return ""
    _, start, said = text.rpartition(f"job {job.job_id} starts on ")
    return said if start else ""
