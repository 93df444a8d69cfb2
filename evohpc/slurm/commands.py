"""The Slurm commands that a search uses, and what their answers mean. Every call is one process and one question."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from evohpc.errors import EvaluationError
from evohpc.messages import TaskState
from evohpc.slurm import rows
from evohpc.slurm.rows import Row

TIMEOUT_S = 120.0
_DEFAULT_MAX_ARRAY_SIZE = 1001
_QUEUE_FORMAT = "%F|%K|%j|%T|%N|%r"

_LATER = re.compile(
    "maxsubmit|submit limit|violates accounting|temporarily|try again|too many|standby mode|configuration file"
    "|configuration source|cannot allocate memory|partition not available|partition in down state|node not available"
    "|nodes are busy|not usable now|currently unavailable|invalid (?:user|group)|unable to resolve (?:user|group)"
    "|please retry|maxjobcount|submissions disabled"
    "|shared (?:object|librar)|find plugin|specified plugin|protocol version|input/output error|stale file handle",
    re.IGNORECASE,
)
"""In refusals that pass: what is queued ends, a controller, a node, a file system or a directory of users comes back,
an update of Slurm gets through. These words, and those below, are of src/common/slurm_errno.c, which has the text of
every answer of Slurm's, and of errno(3)."""
_LOST = re.compile(
    "timed out|unable to contact|connect|zero bytes|communication|i/o error|authentication|unexpected message"
    "|(?:send|receive) failure|message length|socket error|longer than data|unpack credential|token generation"
    "|broken pipe|no route to host|network is unreachable|interrupted",
    re.IGNORECASE,
)
"""In failures of the exchange itself."""
_JOB_ID = re.compile(r"^(\d+)(?:;\S+)?$", re.MULTILINE)
"""`sbatch --parsable` prints the id, and the cluster's name if there is one (sbatch(1)). A banner may surround it."""
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


class NoAnswer(Exception):
    """Slurm did not answer: whether it did what was asked is not known."""


class Answer(StrEnum):
    """What sbatch's answer means."""

    ACCEPTED = "accepted"
    LATER = "later"
    """Refused now, for a reason that passes: too much is queued, a controller starts."""
    LOST = "lost"
    """It may have been accepted, or not."""


@dataclass(frozen=True, slots=True)
class Submission:
    """An answer of sbatch."""

    answer: Answer
    job_id: str = ""
    message: str = ""


DEVICES = (
    *("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK"),
    "NVIDIA_VISIBLE_DEVICES",
)
"""What names the GPUs of a process."""
LOCAL = ("",)
"""The clusters to ask where a site profile names none."""
_started: set[tuple[str, str]] = set()
"""The commands that this process has started, and the PATH by which it found them."""


def submit(script: Path) -> Submission:
    """Hand a script to sbatch.

    Raises:
        EvaluationError: sbatch refuses it, and will again: the site profile or the config is wrong.
    """
    try:
        done = _run(["sbatch", "--parsable", str(script)])
    except NoAnswer as error:
        return Submission(Answer.LOST, message=str(error))
    message = " ".join(done.stderr.split()).replace("sbatch: error: ", "")
    job_ids = _JOB_ID.findall(done.stdout)
    if done.returncode == 0 and job_ids:
        return Submission(Answer.ACCEPTED, job_ids[-1])
    was_killed = done.returncode < 0 or done.returncode > 128  # it, or a wrapper around it: perhaps after it asked
    if done.returncode == 0 or was_killed or _LOST.search(message):
        return Submission(Answer.LOST, message=message or _silent(done))
    if _LATER.search(message):
        return Submission(Answer.LATER, message=message)
    raise EvaluationError(f"Slurm refuses {script}: {message}; {advice(message)}")


def _silent(done: subprocess.CompletedProcess[str]) -> str:
    return f"sbatch ended with exit code {done.returncode} and printed {done.stdout.strip()[:80]!r}"


def queue(names: Collection[str] | None = None, clusters: Collection[str] = LOCAL) -> list[Row]:
    """Return what slurmctld knows of this user's array tasks: of these job names, or of all.

    Args:
        clusters: to ask, one after the other: ids and rows of different ones look alike.

    Raises:
        NoAnswer: it does not answer.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--format={_QUEUE_FORMAT}"]
    if names is not None:
        command.append(f"--name={','.join(sorted(names))}")
    return [row for cluster in clusters for row in rows.in_queue(ask([*command, *on(cluster)]), cluster)]


def history(jobs: Mapping[str, str], clusters: Collection[str] = LOCAL) -> list[Row] | None:
    """Return the array tasks that accounting knows to be over; None if the cluster keeps no accounting.

    Args:
        jobs: job id -> job name. Ids come round again after years, so both must match.

    Raises:
        NoAnswer: slurmdbd does not answer.
    """
    if shutil.which("sacct") is None:
        return None
    command = ["sacct", "--allocations", "--noheader", "--parsable2", "--format=JobID,JobName,State,NodeList"]
    try:
        text = ask([*command, f"--jobs={','.join(sorted(jobs))}", *on(",".join(clusters))])
    except NoAnswer as error:
        if "accounting storage is disabled" in str(error):
            return None
        raise
    found = rows.in_history(text)
    return [row for row in found if row.report.state is TaskState.ENDED and jobs.get(row.job_id) == row.name]


def test(script: str) -> subprocess.CompletedProcess[str]:
    """Ask sbatch whether it would take a script; it submits nothing.

    Raises:
        NoAnswer: Slurm does not answer.
        EvaluationError: there is no sbatch here.
    """
    return _run(["sbatch", "--test-only"], script)


def cancel(job_ids: Collection[str], cluster: str = "") -> None:
    """End jobs and array tasks, whether they run or wait; unknown and ended ones are no error.

    Raises:
        NoAnswer: Slurm does not answer.
    """
    if job_ids:
        ask(["scancel", "--quiet", *on(cluster), *sorted(job_ids)])


def end(rows: Collection[Row]) -> None:
    """End the jobs of rows that run or wait, each on its cluster.

    Raises:
        NoAnswer: Slurm does not answer.
    """
    alive = [row for row in rows if row.report.state is not TaskState.ENDED]
    for cluster in {row.cluster for row in alive}:
        cancel({row.job_id for row in alive if row.cluster == cluster}, cluster)


def max_array_size(settings: Mapping[str, str]) -> int:
    """Return how many tasks an array that begins at 0 may have by Slurm's settings: MaxArraySize is the largest index
    plus one, max_array_tasks of the scheduler the most tasks, whatever their indices (slurm.conf(5)). Where one is 0,
    which switches arrays off, a single job is left, an array of 1."""
    said = settings.get("MaxArraySize", "")
    size = int(said) if said.isdecimal() and len(said) <= 10 else _DEFAULT_MAX_ARRAY_SIZE
    found = re.search(r"\bmax_array_tasks=([0-9]{1,10})\b", settings.get("SchedulerParameters", ""), re.IGNORECASE)
    return max(1, min(size, int(found[1])) if found else size)


def largest_array(clusters: Collection[str] = LOCAL) -> int:
    """Return how many tasks an array may have that any of these clusters may get.

    Raises:
        NoAnswer: Slurm does not answer.
    """
    return min(max_array_size(settings(cluster)) for cluster in clusters)


def settings(cluster: str = "") -> dict[str, str]:
    """Return what slurmctld's configuration says, as `scontrol show config` prints it.

    Raises:
        NoAnswer: Slurm does not answer.
    """
    return dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", ask(["scontrol", *on(cluster), "show", "config"]), re.MULTILINE))


def longest_minutes(partition: str, cluster: str = "") -> int | None:
    """Return the time limit of a partition; None if it has none.

    Raises:
        NoAnswer: Slurm does not answer.
    """
    shown = ask(["scontrol", "--oneliner", *on(cluster), "show", "partition", partition])
    found = re.search(r" MaxTime=(?:(\d{1,9})-)?(\d{1,9}):(\d{1,9}):\d+", shown)
    if found is None:
        return None
    days, hours, minutes = (int(text or 0) for text in found.groups())
    return (24 * days + hours) * 60 + minutes


def environment() -> dict[str, str]:
    """Return this process's environment without what would change the meaning of Slurm's commands.

    A driver that is itself a job has SLURM_* of its own job, and SBATCH_* variables outrank the options in a script.
    Which cluster to talk to, and the key to it, stay. The GPUs of this process are none of another job's: Slurm
    sets their variables on nodes that have any, and a task on one without would take itself for having what it lacks.
    """
    kept = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_SACK_SOCKET"}
    mine = ("SLURM", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SALLOC_", "SRUN_", "SUBMITIT_")
    foreign = ("APPTAINER", "SINGULARITY", *DEVICES)
    return {k: v for k, v in os.environ.items() if k in kept or not k.startswith(mine + foreign)}


def on(cluster: str) -> list[str]:
    """Return the option that has one of Slurm's commands speak to a cluster; '' is the local one."""
    return [f"--clusters={cluster}"] if cluster else []


def ask(command: list[str]) -> str:
    """Run one of Slurm's commands and return what it prints.

    Raises:
        NoAnswer: it fails.
    """
    done = _run(command)
    if done.returncode:
        raise NoAnswer(" ".join(done.stderr.split()) or f"{command[0]} ended with exit code {done.returncode}")
    return done.stdout


def _run(command: list[str], given: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        # Names and messages of others are in what Slurm prints, in whatever encoding.
        done = subprocess.run(
            command,
            env=environment(),
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{command[0]} did not answer within {TIMEOUT_S:g} s") from None
    except OSError as error:
        raise _not_started(command[0], error) from None
    _started.add(_found_by_path(command[0]))
    return done


def _not_started(name: str, error: OSError) -> Exception:
    """Return what it means that a command cannot be started: one that this process has run before comes back, once an
    update of Slurm is through or the file system with it is there again."""
    is_missing = isinstance(error, FileNotFoundError)
    if _found_by_path(name) in _started or not (is_missing or isinstance(error, PermissionError)):
        return NoAnswer(f"{name} cannot be started: {error.strerror}")
    what = f"there is no `{name}` here" if is_missing else f"you may not run `{name}` here"
    return EvaluationError(f"{what}; run this on a login node of the cluster, or use `evohpc run`")


def _found_by_path(name: str) -> tuple[str, str]:
    return name, os.environ.get("PATH", "")


def advice(message: str) -> str:
    """Return what to change after such a refusal of sbatch."""
    matches = (text for words, text in _ADVICE.items() if words in message.lower())
    return next(matches, "correct the site profile; `evohpc doctor` checks it")
