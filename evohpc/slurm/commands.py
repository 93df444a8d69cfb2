"""The Slurm commands that a search uses, and what their answers mean. Every call is one process and one question."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from evohpc.errors import EvaluationError
from evohpc.messages import TaskReport, TaskState
from evohpc.slurm import states

_TIMEOUT_S = 120.0
_DEFAULT_MAX_ARRAY_SIZE = 1001
_QUEUE_FORMAT = "%F|%K|%j|%T|%r"

_FULL = re.compile(r"maxsubmit|submit limit|violates accounting|temporarily|try again|too many", re.IGNORECASE)
_SILENT = re.compile(r"timed out|unable to contact|connect|zero bytes|communication|i/o error", re.IGNORECASE)
_ADVICE = {
    "account": "set `account` in the site profile; `sacctmgr show assoc user=$USER` lists yours",
    "partition": "set `partition` in the site profile; `sinfo` lists them",
    "qos": "set `qos` in the site profile; `sacctmgr show assoc user=$USER format=qos` lists yours",
    "time limit": "ask for less time (`minutes`, evaluation.time_limit_s) or another partition: `sinfo -o '%P %l'`",
    "node configuration": "no node of the partition has so many CPUs, such GPUs or so much memory",
    "gres": "correct `gres` or `gpus_per_node` in the site profile; `sinfo -o '%P %G'` lists them",
    "array": "the site's MaxArraySize or MaxSubmitJobs shrank; set `scheduler.max_queued` in the site profile",
    "feature": "correct `constraint` in the site profile; `sinfo -o '%P %f'` lists them",
}


class Silence(Exception):
    """Slurm did not answer; nothing is known."""


class Answer(StrEnum):
    """What sbatch's answer means."""

    ACCEPTED = "accepted"
    FULL = "full"
    """Refused because too much is queued; later it will do."""
    LOST = "lost"
    """It may have been accepted, or not."""


@dataclass(frozen=True, slots=True)
class Submission:
    """An answer of sbatch."""

    answer: Answer
    job_id: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One array task, as Slurm tells of it."""

    job_id: str
    """Of the whole array."""
    index: int
    """In the array; -1 is a row for all of its tasks."""
    name: str
    report: TaskReport


def submit(script: Path) -> Submission:
    """Hand a script to sbatch.

    Raises:
        EvaluationError: sbatch refuses it, and will again: the site profile or the config is wrong.
    """
    try:
        done = _run(["sbatch", "--parsable", str(script)])
    except Silence as silence:
        return Submission(Answer.LOST, message=str(silence))
    message = " ".join(done.stderr.split()).replace("sbatch: error: ", "")
    job_id = re.match(r"(\d+)(;\S+)?$", done.stdout.strip())
    if done.returncode == 0 and job_id:
        return Submission(Answer.ACCEPTED, job_id[1])
    if done.returncode == 0 or _SILENT.search(message):
        return Submission(Answer.LOST, message=message or f"sbatch said {done.stdout.strip()[:80]!r}")
    if _FULL.search(message):
        return Submission(Answer.FULL, message=message)
    raise EvaluationError(f"Slurm refuses {script}: {message}; {advice(message)}")


def queue(names: Collection[str] | None = None) -> list[Row]:
    """Return what slurmctld knows of this user's array tasks: of these job names, or of all.

    Raises:
        Silence: it does not answer.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--format={_QUEUE_FORMAT}"]
    if names is not None:
        command.append(f"--name={','.join(sorted(names))}")
    return list(_queue_rows(_ask(command)))


def history(jobs: Mapping[str, str]) -> list[Row] | None:
    """Return the array tasks that accounting knows to be over; None if the cluster keeps no accounting.

    Args:
        jobs: job id -> job name. Ids come round again after years, so both must match.

    Raises:
        Silence: slurmdbd does not answer.
    """
    if shutil.which("sacct") is None:
        return None
    command = ["sacct", "--allocations", "--noheader", "--parsable2", "--format=JobID,JobName,State"]
    try:
        text = _ask([*command, f"--jobs={','.join(sorted(jobs))}"])
    except Silence as silence:
        if "accounting storage is disabled" in str(silence):
            return None
        raise
    rows = _history_rows(text)
    return [row for row in rows if row.report.state is TaskState.ENDED and jobs.get(row.job_id) == row.name]


def cancel(job_ids: Collection[str]) -> None:
    """End jobs and array tasks, whether they run or wait; unknown and ended ones are no error.

    Raises:
        Silence: Slurm does not answer.
    """
    if job_ids:
        _ask(["scancel", "--quiet", *sorted(job_ids)])


def max_array_size(settings: Mapping[str, str]) -> int:
    """Return MaxArraySize of Slurm's settings: the largest index of an array, plus one."""
    return int(settings.get("MaxArraySize", _DEFAULT_MAX_ARRAY_SIZE))


def settings() -> dict[str, str]:
    """Return what slurmctld's configuration says, as `scontrol show config` prints it.

    Raises:
        Silence: Slurm does not answer.
    """
    return dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", _ask(["scontrol", "show", "config"]), re.MULTILINE))


def longest_minutes(partition: str) -> int | None:
    """Return the time limit of a partition; None if it has none.

    Raises:
        Silence: Slurm does not answer.
    """
    shown = _ask(["scontrol", "--oneliner", "show", "partition", partition])
    found = re.search(r" MaxTime=(?:(\d+)-)?(\d+):(\d+):\d+", shown)
    if found is None:
        return None
    days, hours, minutes = (int(text or 0) for text in found.groups())
    return (24 * days + hours) * 60 + minutes


def environment() -> dict[str, str]:
    """Return this process's environment without what would change the meaning of Slurm's commands.

    A driver that is itself a job has SLURM_* of its own job, and SBATCH_* variables outrank the options in a script.
    """
    kept = {"SLURM_CONF", "SLURM_CLUSTERS"}
    mine = ("SLURM", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SALLOC_", "SRUN_", "SUBMITIT_")
    foreign = ("APPTAINER", "SINGULARITY")
    return {k: v for k, v in os.environ.items() if k in kept or not k.startswith(mine + foreign)}


def _ask(command: list[str]) -> str:
    done = _run(command)
    if done.returncode:
        raise Silence(" ".join(done.stderr.split()) or f"{command[0]} ended with exit code {done.returncode}")
    return done.stdout


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=_TIMEOUT_S)
    except FileNotFoundError:
        raise EvaluationError(
            f"there is no `{command[0]}` here; run this on a login node of the cluster, or use `evohpc run`"
        ) from None
    except subprocess.TimeoutExpired:
        raise Silence(f"{command[0]} did not answer within {_TIMEOUT_S:g} s") from None


def _queue_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        job_id, index, name, state, reason = line.split("|", maxsplit=4)
        yield Row(job_id, int(index) if index.isdecimal() else -1, name, states.report(state, reason))


def _history_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        task, name, state = line.split("|", maxsplit=2)
        job_id, _, index = task.partition("_")
        yield Row(job_id, int(index) if index.isdecimal() else -1, name, states.report(state))


def advice(message: str) -> str:
    """Return what to change after such a refusal of sbatch."""
    matches = (text for words, text in _ADVICE.items() if words in message.lower())
    return next(matches, "correct the site profile; `evohpc doctor` checks it")
