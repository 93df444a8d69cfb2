"""Whether Slurm will take the jobs of a search: `sbatch --test-only` checks everything and submits nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from evohpc.config.search import Config
from evohpc.config.site import LMJobs, Site
from evohpc.doctor.base import Finding, attempt, fault, ok, warning
from evohpc.errors import EvaluationError
from evohpc.linux import python
from evohpc.lm_job import script as lm_script
from evohpc.run_folder import RunDir
from evohpc.search import driver_job, preview
from evohpc.slurm import commands
from evohpc.slurm.commands import NoAnswer

_DEFAULT_MIN_JOB_AGE_S = 300
_TIMEOUT_S = 120.0
_SHORTEN = {
    "evaluation jobs": "lower evaluation.time_limit_s or candidates_per_task, or choose another partition",
    "driver job": "lower driver.minutes; the search goes on in the next job",
    "LM jobs": "lower lm.minutes; the next job draws the rest",
}


def examine_slurm(config: Config, site: Site) -> Iterator[Finding]:
    """Look at a site as the login node sees it."""
    try:
        settings = commands.settings(site.evaluation.clusters[0])
        largest = commands.largest_array(site.evaluation.clusters)
    except (EvaluationError, NoAnswer) as error:
        yield fault("Slurm", str(error), "load the site's Slurm module, or set SLURM_CONF")
        return
    yield ok("Slurm", f"answers; arrays of up to {largest} tasks")
    if site.python:
        yield from attempt("python", f"starting {site.python}", lambda: _python(site.python))
    yield from attempt("jobs", "making job scripts in a temporary folder", lambda: _jobs(config, site, largest))
    yield from attempt("accounting", "reading Slurm's settings", lambda: accounting(site, settings))
    yield from attempt("requeue", "reading Slurm's settings", lambda: going_on(site, settings))


def _python(executable: str) -> Finding:
    """Start what the jobs start. Its setup is not run here, so a bare name is only looked for."""
    if shutil.which(executable) is None:
        return warning(
            "python", f"there is no {executable} on this host", "see that compute nodes have it, after setup"
        )
    done = subprocess.run(
        [*python(executable), "-m", "evohpc", "--version"],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    if done.returncode and "/" in executable:
        why = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        return fault("python", f"{executable} does not start evohpc: {why}", "install evohpc into that Python")
    return ok("python", executable)


def _jobs(config: Config, site: Site, largest: int) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory(prefix="evohpc-doctor-") as folder:
        run = RunDir(Path(folder))
        job = preview.children_job(run, "doctor", config) or preview.seeds_job(run, "doctor", config)
        yield from _test("evaluation jobs", preview.first_array(run, job, site, config, largest)[1])
        yield from _test("driver job", driver_job.script(run.path, "doctor", site))
        if site.lm is not None and (work := preview.lm_work(run, "doctor", site, config)):
            yield from _test("LM jobs", lm_script.text(work, site), _holding(site.lm))
            yield from _idling(site.lm, config.evaluation.time_limit_s / 60)


def _holding(jobs: LMJobs) -> str:
    if not jobs.hold:
        return ""
    return f"; one answers all rounds, and gives its node back after {jobs.idle_minutes:g} idle minutes"


def _idling(jobs: LMJobs, candidate_minutes: float) -> Iterator[Finding]:
    """Compare how long an LM job waits for the next round with how long one candidate of a round may take."""
    if jobs.hold and jobs.idle_minutes < candidate_minutes:
        yield warning(
            "LM job between rounds",
            f"waits {jobs.idle_minutes:g} minutes for the next round; a candidate may take {candidate_minutes:g}",
            "set lm.idle_minutes to what a round's jobs take, queueing included, or each round queues for a new one",
        )


def _test(check: str, script: str, remark: str = "") -> Iterator[Finding]:
    """Ask whether Slurm would take a script: account, partition, qos, time limit, nodes and GPUs."""
    return attempt(check, "asking `sbatch --test-only`", lambda: _judge(check, script, remark, commands.test(script)))


def _judge(check: str, script: str, remark: str, done: subprocess.CompletedProcess[str]) -> Finding:
    said = " ".join((done.stderr or done.stdout).replace("sbatch: error: ", "").replace("sbatch: ", "").split())
    if done.returncode:
        return fault(check, said, commands.advice(said))
    partition, minutes = re.search(r"in partition (\S+)", said), re.search(r"--time=(\d+)$", script, re.MULTILINE)
    clusters = re.search(r"--clusters=(.+)$", script, re.MULTILINE)
    if partition is None or minutes is None or (clusters is not None and "," in clusters[1]):
        return ok(check, f"would run{remark}")
    longest = commands.longest_minutes(partition[1], clusters[1] if clusters else "")
    return _within_limit(check, partition[1], longest, int(minutes[1]), remark)


def _within_limit(check: str, partition: str, longest: int | None, minutes: int, remark: str) -> Finding:
    """Compare with the partition's limit: unless the site enforces it, Slurm takes such a job and never starts it."""
    if longest is not None and minutes > longest:
        found = f"asks for {minutes} minutes, partition {partition} allows {longest}: it would wait for ever"
        return fault(check, found, _SHORTEN[check])
    return ok(check, f"would run in partition {partition}{remark}")


def accounting(site: Site, settings: dict[str, str]) -> Finding:
    """Say whether Slurm remembers jobs that are over long enough."""
    if not settings.get("AccountingStorageType", "").endswith(("none", "(null)")):  # which newer Slurms print for none
        return ok("accounting", "sacct remembers jobs that are over")
    said = re.match(r"[0-9]{1,9}", settings.get("MinJobAge", ""))
    remembered = int(said[0]) if said else _DEFAULT_MIN_JOB_AGE_S
    if remembered < 3 * site.scheduler.poll_s:
        return warning(
            "accounting",
            f"none, and squeue forgets jobs after {remembered} s",
            f"set scheduler.poll_s to at most {remembered // 3}, or ends of jobs are only noticed after settle_s",
        )
    return ok("accounting", f"none; squeue remembers jobs for {remembered} s, which will do")


def going_on(site: Site, settings: dict[str, str]) -> Finding:
    """Say whether the driver's job can go on after its time limit."""
    if site.driver.go_on_by == "requeue" and settings.get("JobRequeue") == "0":
        return warning("requeue", "the site has JobRequeue=0", "set driver.go_on_by to successor, which needs none")
    return ok("requeue", f"the driver goes on by {site.driver.go_on_by}")
