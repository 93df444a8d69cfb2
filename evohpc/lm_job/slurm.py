"""The LM job as Slurm jobs of its own, which go on when the driver stops: one for each round, or, where the site
profile says `hold`, one for the whole run, which answers one round after the other (lm/serve.py).

RUN/rounds/NNN/slurm/<run id>-NNN-lm/<k>/   job <k> of a round
RUN/slurm/<run id>-lm/<k>/                  job <k> of the run
    lm.sbatch   what sbatch gets; written before it is called
    job_id      its answer
    claim       link to the id of the job that runs
    end         why no job is to work here any more, be there completions missing or not

A job that ends early, whoever is to blame, is followed by the next k, which draws only what is missing: completions
depend on their seeds alone. Two jobs that draw the same, because a node that was cut off came back, write the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from evohpc.config.site import Site
from evohpc.errors import EvaluationError, LMError
from evohpc.files import write_atomic
from evohpc.lm.serve import END
from evohpc.lm_job import base as lm_job
from evohpc.lm_job import script as lm_script
from evohpc.lm_job.script import LMWork
from evohpc.messages import TaskReport, TaskState
from evohpc.run_folder import RoundDir
from evohpc.slurm import arrays, client
from evohpc.slurm.arrays import Array
from evohpc.slurm.client import SlurmClient

log = logging.getLogger(__name__)

_CANCELLED = "cancelled"
"""In the `end` of a job that a person has ended. No other follows at once: the driver may be about to be ended, too."""


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
            program: what answers a request, its last argument, instead of the language model.

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
        self._is_adopted = False
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
        has_left = _read(self._job.folder / END) not in ("", _CANCELLED)
        if has_left or (self._job.is_over and self._has_waited_for_files()):
            self._follow_up(self._request, self._job)
        return False

    def cancel(self) -> None:
        """See `LMJob.cancel`. It ends the LM jobs of the whole run, those too that another process submitted.

        Raises:
            EvaluationError: Slurm does not answer.
        """
        self._job = None
        folders = [*self._run.glob("rounds/*/slurm/*-lm"), *self._run.glob("slurm/*-lm")]
        for folder in (job for parent in folders for job in parent.iterdir()):
            _conclude(folder, _CANCELLED)
        if folders:
            client.end_jobs([folder.name for folder in folders])

    def release(self) -> None:
        """See `LMJob.release`."""
        waiting = [folder for folder in self._run.glob("slurm/*-lm/*") if not (folder / END).exists()]
        for folder in waiting:
            _conclude(folder, "the search needs it no more")
        try:
            if waiting:
                client.end_jobs([folder.parent.name for folder in waiting])
        except EvaluationError as error:
            log.warning("%s; the LM job will see for itself that the search needs it no more", error)

    def close(self) -> None:
        """Nothing is held here; the job goes on."""

    def _work(self, request: Path, number: int) -> LMWork:
        asked = lm_job.load_request(request)
        return lm_script.work_of(request, asked.run_id, number, Path(asked.model_path), hold=self._jobs.hold)

    def _begin(self, request: Path) -> None:
        """Take up the last job that was not seen to be over, or the first that there never was."""
        number = 0
        while ((work := self._work(request, number)).folder / END).exists():
            number += 1
        self._job = Array(work.name, work.folder, 0, 1, lm_script.SCRIPT)
        self._is_adopted = self._job.was_handed_over
        self._over_since, self._reached = None, _reached(request)
        self._client.adopt(self._job)
        self._hand_over(request, self._job)

    def _hand_over(self, request: Path, job: Array) -> None:
        """Call sbatch, unless it was called, or may have been."""
        if job.job_id or job.doubtful_since is not None or job.is_over or not self._client.may_submit:
            return
        job.refresh()
        if job.is_over:  # another process has cancelled it
            return
        try:
            script = lm_script.write(self._work(request, int(job.folder.name)), self._site, self._program)
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
        reason = _read(job.folder / END) or job.reports[0].reason
        _conclude(job.folder, reason)
        self._job = None
        own = self._work(request, int(job.folder.name)).log
        printed = _printed((RoundDir(request.parent).lm_log, own), job.job_id)
        for path, text in printed.items():
            if said := lm_job.last_error(text):
                raise lm_job.failure(request, said, path)
        if _reached(request) > self._reached:
            self._fruitless = 0
        elif not self._is_adopted:  # that one may have been over before it could have seen the request
            self._fruitless += 1
        if self._fruitless > self._jobs.retries:
            why = f"{self._fruitless} in a row brought nothing further; of the last, {reason}"
            raise lm_job.failure(request, why, next(iter(printed), own))
        log.warning("LM job %s ended early: %s; the next one goes on", job.name, reason)
        self._begin(request)


def _reached(request: Path) -> tuple[int, bool]:
    """Return how far a request is answered: completions, and whether the soft prompt is tuned."""
    return lm_job.progress(request)[0], RoundDir(request.parent).adapter.is_dir()


def _conclude(folder: Path, reason: str) -> None:
    """Note that a job is over, and have it end at once if it should start after all."""
    arrays.claim_for_nobody(folder)
    write_atomic(folder / END, reason)


def _printed(logs: Iterable[Path], job_id: str) -> dict[Path, str]:
    """Return what a job printed since it last started into each of the logs that it shares with others."""
    parts = {path: _read(path).rpartition(f"job {job_id} starts on ") for path in logs}
    return {path: said for path, (_, start, said) in parts.items() if start}


def _read(path: Path) -> str:
    """Return the content of a file, '' if there is none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
