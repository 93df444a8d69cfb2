"""The Slurm job that drives a search: small, without a GPU, and not ended by its own time limit.

Slurm signals the job's shell before the limit (sbatch --signal=B:USR1@...); the driver stops between two steps, its
arrays go on, and the job requeues itself, or its successor, which waited in the queue all along, takes over.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from evohpc.config.sbatch_options import Options
from evohpc.config.site import Site, load_site
from evohpc.driver import lease
from evohpc.errors import EvaluationError, LeaseError
from evohpc.files import write_atomic
from evohpc.linux import python
from evohpc.messages import TaskState
from evohpc.run_folder import RunDir
from evohpc.slurm import commands
from evohpc.slurm.client import check_folder
from evohpc.slurm.commands import Answer, NoAnswer
from evohpc.slurm.rows import Row
from evohpc.slurm.script import after_setup, directives

STOPPED = 85
"""Exit code of a driver that was asked to stop and has more to do; no shell or Slurm gives it a meaning."""

OVER = "driver.over"
"""In the run folder: written when a driver has ended and is not to go on, or was cancelled. A successor that starts all
the same, because it could not be cancelled, ends at once, and submits no other."""

FOLLOWED = "driver.successor"
"""In the run folder: the id of the last job that has a successor, and the successor's. SLURM_RESTART_COUNT does not
tell whether it has one: it counts starts at which the script never ran, or whose sbatch was refused."""

_TEMPLATE = """\
#!/bin/bash
# Drives the search in {run}; written by `evohpc submit`.
{options}

{successor}# Only a shell that is in `wait` hears a signal.
trap 'stop=yes; kill -TERM "$driver" 2>/dev/null' USR1
trap 'kill -TERM "$driver" 2>/dev/null' TERM
{program} &
driver=$!
[ "$stop" != yes ] || kill -TERM "$driver"  # the signal came before it had a name
while kill -0 "$driver" 2>/dev/null; do wait "$driver"; done
wait "$driver"; status=$?  # its own at last, whenever it ended: that of a `wait` above may be a signal's
if [ "$status" = {stopped} ] || [ "$status" = 143 ]; then  # told to stop; 143: before it could listen
  [ "$stop" = yes ] || exit "$status"  # by Slurm, which ends the job early and may requeue it: the search is not over
  {go_on}
fi
{end}exit "$status"
"""
_SUCCESSOR = """\
[ ! -e {over} ] || exit 0  # no driver is to follow the one that wrote it
successor=$(sed -n "s/^$SLURM_JOB_ID //p" {followed} 2>/dev/null)  # from before Slurm requeued this job
follow() {{  # have one job wait that follows this one
  [ -z "$successor" ] || return 0
  successor=$(env -u SLURM_RESTART_COUNT sbatch --parsable {script} | grep -E '^[0-9]+(;[^ ]+)?$' | tail -n 1)
  [ -n "$successor" ] || return 1
  echo "$SLURM_JOB_ID $successor" > {followed}; return 0  # a disk that is full brings no second one
}}
follow
"""
_NO_SUCCESSOR = """\
: > {over}
case "$successor" in
  "") ;;  # one that sbatch did not name finds that file
  *\\;*) scancel --clusters="${{successor#*;}}" "${{successor%%;*}}" ;;  # sbatch named the cluster, too
  *) scancel "$successor" ;;
esac
"""
_REQUEUE = 'until scontrol requeue "$SLURM_JOB_ID"; do sleep 10; done; exit 0'
_FOLLOW = "until follow; do sleep 10; done; exit 0"
"""slurmctld may be restarting. The time limit ends the loop, and then the job has failed for all to see."""


def job_name(run_id: str) -> str:
    """Return Slurm's name for the driver of a run; only one job of a name runs at a time (singleton)."""
    return f"evohpc-{run_id}"


def script(run: Path, run_id: str, site: Site, program: Sequence[str] = ()) -> str:
    """Return the sbatch script.

    Args:
        program: what to run instead of `evohpc run RUN`.
    """
    own, over, followed = (shlex.quote(str(run / name)) for name in ("driver.sbatch", OVER, FOLLOWED))
    chain = site.driver.go_on_by == "successor"
    command = program or [*python(site.python), "-m", "evohpc", "run", str(run)]
    return _TEMPLATE.format(
        run=run,
        options=directives(_options(run, run_id, site)),
        successor=_SUCCESSOR.format(script=own, over=over, followed=followed) if chain else "",
        program=shlex.join(after_setup(site.driver.setup, command)),
        stopped=STOPPED,
        go_on=_FOLLOW if chain else _REQUEUE,
        end=_NO_SUCCESSOR.format(over=over) if chain else "",
    )


def submit(run: RunDir, run_id: str, site: Site) -> str:
    """Have Slurm drive a run; return the job's id. A run that a job drives already keeps that job.

    Raises:
        EvaluationError: Slurm refuses, or does not answer.
    """
    name, path = job_name(run_id), check_folder(run.path)
    (path / OVER).unlink(missing_ok=True)
    if job_id := _find(name, site):
        return job_id
    write_atomic(path / "driver.sbatch", script(path, run_id, site))
    submission = commands.submit(path / "driver.sbatch")
    if submission.answer is Answer.ACCEPTED:
        return submission.job_id
    if submission.answer is Answer.LOST:
        time.sleep(min(site.scheduler.poll_s, 10.0))
        if job_id := _find(name, site):
            return job_id
    raise EvaluationError(f"sbatch did not take the driver ({submission.message}); run the same command again")


def held(run_id: str, site: Site) -> str:
    """Return why the job that drives a run never starts by itself, as Slurm says; '' if it may, or nobody can say."""
    try:
        reports = [row.report for row in _going_on(job_name(run_id), site)]
    except NoAnswer:
        return ""
    is_driven = any(report.state is TaskState.RUNNING for report in reports)
    return "" if is_driven else next((report.reason for report in reports if report.state is TaskState.HELD), "")


def how_to_begin(run: RunDir, run_id: str) -> str:
    """Return what to do about a search that has not begun, and where to see why."""
    path = shlex.quote(str(run.path))
    if run.driver_log.exists():
        return f"its driver's job printed {run.driver_log}"
    if not run.site.is_file():
        return f"evohpc run {path}"
    on = commands.on(",".join(load_site(run.site).driver.clusters))
    queue = shlex.join(["squeue", *on, f"--name={job_name(run_id)}"])
    return f"evohpc submit {path}; if that was done, its job waits: {queue}"


def cancel(run: RunDir, run_id: str, site: Site, waiting: Callable[[str], None]) -> list[str]:
    """End the jobs that drive a run; return their ids. Its arrays are ended by `SlurmRunner.cancel`.

    Raises:
        LeaseError: a driver that is none of these jobs lives. It would take cancelled arrays for faults of machines.
        EvaluationError: Slurm does not answer.
    """
    try:
        rows = _alive(job_name(run_id), site)
        ids = sorted({row.job_id for row in rows})
        _check_no_other(run, ids, waiting)
        with _without_successor(run.path / OVER, site):
            commands.end(rows)
    except NoAnswer as error:
        raise EvaluationError(f"Slurm does not answer ({error}); cancel again when it does") from None
    return ids


@contextmanager
def _without_successor(over: Path, site: Site) -> Iterator[None]:
    """Have no job follow those that are ended meanwhile: sbatch may be taking one just now. One that Slurm could not be
    told to end goes on, and is to have a successor."""
    is_new = site.driver.go_on_by == "successor" and not over.exists()
    if is_new:
        with suppress(OSError):  # a full disk keeps nobody from cancelling
            over.touch()
    try:
        yield
    except NoAnswer:
        if is_new:
            over.unlink(missing_ok=True)
        raise


def _check_no_other(run: RunDir, jobs: Sequence[str], waiting: Callable[[str], None]) -> None:
    driver = lease.holder(run)
    if driver is None or driver.slurm_job_id in jobs:
        return
    if (living := lease.living(run, waiting)) is not None:
        raise LeaseError(
            f"{run.path} is driven by {living}, which is not a job of `evohpc submit` and would hand out the same "
            "candidates again: stop it first, with Ctrl-C or kill, then cancel"
        )


def _options(run: Path, run_id: str, site: Site) -> Options:
    driver = site.driver
    own: Options = {
        "job-name": job_name(run_id),
        "dependency": "singleton",
        "signal": f"B:USR1@{driver.stop_before_s}",
        "requeue": True,
        "open-mode": "append",
        "output": str(RunDir(run).driver_log),
        "time": driver.minutes,
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": driver.cpus,
        **({"mem": f"{driver.memory_mb}M"} if driver.ask_memory else {}),
    }
    return driver.sbatch_options(own)


def _find(name: str, site: Site) -> str:
    """Return the job of that name that runs or waits, '' if there is none."""
    try:
        return min((row.job_id for row in _going_on(name, site)), key=int, default="")
    except NoAnswer as error:
        raise EvaluationError(f"Slurm does not answer ({error}); nothing was submitted: try again") from None


def _going_on(name: str, site: Site) -> list[Row]:
    """Return those that drive, or will. One that completes may have been cancelled just now; if Slurm starts it again,
    a job that is submitted meanwhile waits for its end (singleton), and finds the search as that one left it."""
    return [row for row in _alive(name, site) if not row.is_completing]


def _alive(name: str, site: Site) -> list[Row]:
    rows = commands.queue([name], site.driver.clusters)
    return [row for row in rows if row.report.state is not TaskState.ENDED]
