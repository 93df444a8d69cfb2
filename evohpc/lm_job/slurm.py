"""The LM job as Slurm jobs, which go on when the driver stops: one for each round, or, if the site profile sets `hold`,
one for the whole run, which answers one round after the other (lm/serve.py).

RUN/rounds/NNN/slurm/<run id>-NNN-lm/<k>/   job <k> of a round
RUN/slurm/<run id>-lm/<k>/                  job <k> of the run
    lm.sbatch   what sbatch gets; written before it is called
    job_id      its answer
    claim       link to the id of the job that runs
    end         why no job may work here any more, whether completions are missing or not

If a job ends early, for whatever reason, job k + 1 follows and draws only what is missing: completions depend on their
seeds alone. Two jobs that draw the same completions, because a node lost its network for a while, write the same file.
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
from evohpc.run_folder import RoundDir, read_request
from evohpc.slurm import arrays, client
from evohpc.slurm.arrays import Array
from evohpc.slurm.client import SlurmClient

log = logging.getLogger(__name__)

_CANCELLED = "cancelled"
"""Content of `end` of a job that a person cancelled. No job follows at once: the person may cancel the driver next."""


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
        self._client = SlurmClient(site.scheduler, clock, site.lm.clusters)
        self._round: RoundDir | None = None
        self._job: Array | None = None
        self._over_since: float | None = None
        self._reached = (0, False)
        self._is_adopted = False
        self._fruitless = 0
        self._logged = TaskReport(TaskState.WAITING)

    @property
    def held(self) -> str:
        """See `LMJob.held`."""
        report = self._logged
        return report.reason if self._job is not None and report.state is TaskState.HELD else ""

    def start(self, round: RoundDir) -> None:
        """See `LMJob.start`."""
        round = RoundDir(round.path.resolve())
        if self._job is not None and self._round == round:
            return
        self._round, self._fruitless = round, 0
        if not lm_job.is_complete(round):
            self._begin(round)

    def poll(self) -> bool:
        """See `LMJob.poll`. It asks Slurm only every `scheduler.poll_s`, and uses the last answer in between."""
        assert self._round is not None, "poll() before start()"
        if lm_job.is_complete(self._round):
            self._job = None
            return True
        if self._job is None:
            raise lm_job.failure(self._round, "it was cancelled")
        self._client.ask([self._job])
        self._hand_over(self._round, self._job)
        self._log_change(self._job)
        has_left = _read(self._job.folder / END) not in ("", _CANCELLED)
        if has_left or (self._job.is_over and self._has_waited_for_files()):
            self._follow_up(self._round, self._job)
        return False

    def cancel(self) -> None:
        """See `LMJob.cancel`. It ends all LM jobs of the run, also those that another process submitted."""
        self._job = None
        folders = [*self._run.glob("rounds/*/slurm/*-lm"), *self._run.glob("slurm/*-lm")]
        for folder in (job for parent in folders for job in parent.iterdir()):
            _conclude(folder, _CANCELLED)
        if folders:
            client.end_jobs([folder.name for folder in folders], self._site.clusters)

    def release(self) -> None:
        """See `LMJob.release`."""
        waiting = [folder for folder in self._run.glob("slurm/*-lm/*") if not (folder / END).exists()]
        for folder in waiting:
            _conclude(folder, "the search needs it no more")
        try:
            if waiting:
                client.end_jobs([folder.parent.name for folder in waiting], self._site.clusters)
        except EvaluationError as error:
            log.warning("%s; the LM job will see for itself that the search needs it no more", error)

    def close(self) -> None:
        """Nothing is held here; the job goes on."""

    def _work(self, round: RoundDir, number: int) -> LMWork:
        request = read_request(round)
        return lm_script.work_of(round, request.run_id, number, Path(request.model_path), hold=self._jobs.hold)

    def _begin(self, round: RoundDir) -> None:
        """Adopt the last job, unless it is known to be over; then begin the next one."""
        number = 0
        while ((work := self._work(round, number)).folder / END).exists():
            number += 1
        self._job = Array(work.name, work.folder, 0, 1, lm_script.SCRIPT)
        self._is_adopted = self._job.was_handed_over
        self._over_since, self._reached = None, _reached(round)
        self._client.adopt(self._job)
        self._hand_over(round, self._job)

    def _hand_over(self, round: RoundDir, job: Array) -> None:
        """Call sbatch, unless it was, or may have been, called already."""
        if job.job_id or job.doubtful_since is not None or job.is_over or not self._client.may_submit:
            return
        job.refresh()
        if job.is_over:  # another process has cancelled it
            return
        try:
            script = lm_script.write(self._work(round, int(job.folder.name)), self._site, self._program)
            self._client.submit(job, script, will_have_room=False)
        except EvaluationError as error:
            self._job = None
            raise LMError(str(error)) from None

    def _log_change(self, job: Array) -> None:
        """Log the state of the job if it has changed."""
        if job.reports[0] != self._logged:
            report = self._logged = job.reports[0]
            what = f"{report.state}: {report.reason}" if report.reason else report.state
            log.info("LM job %s (%s): %s", job.name, job.job_id or "not submitted", what)

    def _has_waited_for_files(self) -> bool:
        """Return whether the job has been over so long (`grace_s`) that its files must be visible here."""
        if self._over_since is None:
            self._over_since = self._clock()
        return self._clock() - self._over_since >= self._site.scheduler.grace_s

    def _follow_up(self, round: RoundDir, job: Array) -> None:
        """Begin the next job.

        Raises:
            LMError: the last job has printed an error, or several jobs in a row made no progress.
        """
        reason = _read(job.folder / END) or job.reports[0].reason
        _conclude(job.folder, reason)
        self._job = None
        own = self._work(round, int(job.folder.name)).log
        printed = _printed((round.lm_log, own), job.job_id)
        for path, text in printed.items():
            if problem := lm_job.last_error(text):
                raise lm_job.failure(round, problem, path)
        if _reached(round) > self._reached:
            self._fruitless = 0
        elif not self._is_adopted:  # that one may have been over before it could have seen the request
            self._fruitless += 1
        if self._fruitless > self._jobs.retries:
            why = f"{self._fruitless} in a row brought nothing further; of the last, {reason}"
            raise lm_job.failure(round, why, next(iter(printed), own))
        log.warning("LM job %s ended early: %s; the next one goes on", job.name, reason)
        self._begin(round)


def _reached(round: RoundDir) -> tuple[int, bool]:
    """Return how far the LM job of a round has come: (finished completions, whether the adapter is tuned)."""
    return lm_job.progress(round)[0], round.adapter.is_dir()


def _conclude(folder: Path, reason: str) -> None:
    """Record that a job is over; if it starts all the same, it ends at once."""
    arrays.claim_for_nobody(folder)
    write_atomic(folder / END, reason)


def _printed(logs: Iterable[Path], job_id: str) -> dict[Path, str]:
    """Return, for each log that the job wrote to, what it printed since its last start."""
    parts = {path: _read(path).rpartition(f"job {job_id} starts on ") for path in logs}
    return {path: text for path, (_, start, text) in parts.items() if start}


def _read(path: Path) -> str:
    """Return the content of a file, '' if there is none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
