"""The sbatch script of one job array, made by submitit, with what submitit leaves open.

submitit names a task's pickle after the job id, so only after sbatch has returned; a driver that dies in between leaves
tasks that wait for a minute and fail. Here one pickle serves all tasks and is there before sbatch; each task links it
to the name that submitit's worker expects. The worker's own result pickle is never read: results are files of evohpc.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import submitit
from submitit.core.utils import DelayedSubmission

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.site import Site
from evohpc.files import write_atomic
from evohpc.jobs.excluded_nodes import with_those_of_the_site
from evohpc.linux import python
from evohpc.messages import EvaluationJob
from evohpc.slurm.arrays import SCRIPT, Array
from evohpc.slurm.script import after_setup, claim

PICKLE = "task.pkl"


@dataclass(frozen=True, slots=True)
class ArrayShape:
    """What one array asks of Slurm."""

    name: str
    """Slurm's job name."""
    size: int
    candidates: int
    """The most that one of its tasks evaluates."""

    @classmethod
    def of(cls, array: Array, job: EvaluationJob) -> ArrayShape:
        """Return the shape of one of the arrays that a job is split into."""
        return cls(array.name, array.size, max(map(len, job.tasks)))


class _Executor(submitit.SlurmExecutor):  # type: ignore[misc]
    @classmethod
    def affinity(cls) -> int:
        """A script can be shown where there is no Slurm."""
        return 1


def write(
    folder: Path,
    shape: ArrayShape,
    work: DelayedSubmission,
    site: Site,
    config: EvaluationConfig,
    excluded: Sequence[str] = (),
) -> Path:
    """Write the pickle and then the script of an array into `folder`; return the script.

    Args:
        excluded: nodes that it must not run on, beside those that the site excludes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work.set_timeout(_minutes(shape, site, config), 0)
    work.dump(folder / PICKLE)
    script = folder / SCRIPT
    write_atomic(script, text(folder, shape, site, config, excluded))
    return script


def text(folder: Path, shape: ArrayShape, site: Site, config: EvaluationConfig, excluded: Sequence[str] = ()) -> str:
    """Return the script; see `write`."""
    executor = _Executor(folder, python=shlex.join(python(site.python)))
    executor.update_parameters(
        job_name=shape.name,
        time=_minutes(shape, site, config),
        cpus_per_task=config.threads,
        ntasks_per_node=1,
        array_parallelism=site.evaluation.max_parallel,
        stderr_to_stdout=True,
        # A step per task would cost slurmctld an RPC and the task 0.2 s. Without one, submitit's signal (USR2, its
        # preemption protocol, which misfires under short time limits) never reaches the worker, and is not wanted.
        use_srun=False,
        signal_delay_s=0,
        wckey=None,
        setup=_setup(folder),
        teardown=_teardown(folder),
        additional_parameters=_options(site, config, excluded),
    )
    executor.parameters["map_count"] = shape.size
    command = after_setup(site.evaluation.setup, shlex.split(executor._submitit_command_str))
    return str(executor._make_submission_file_text(shlex.join(command), ""))


def _options(site: Site, config: EvaluationConfig, excluded: Sequence[str]) -> dict[str, str | int | bool]:
    jobs = site.evaluation
    memory = {"mem": f"{config.memory_mb + jobs.extra_memory_mb}M"} if jobs.ask_memory else {}
    options = jobs.sbatch_options({"requeue" if jobs.requeue else "no-requeue": True, **memory})
    if excluded:
        options["exclude"] = with_those_of_the_site(excluded, jobs)
    return options


def _setup(folder: Path) -> list[str]:
    """Fence off a second array with the same work, and make the worker find its pickle.

    A worker that was killed while it wrote its own result leaves a file that makes it fail after a requeue.
    """
    here = shlex.quote(str(folder))
    task = f"{here}/${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
    return [
        *claim(folder, "SLURM_ARRAY_JOB_ID"),
        f"ln -sfT {PICKLE} {task}_submitted.pkl",
        f"rm -f {task}_0_result.pkl.save_tmp",
    ]


def _teardown(folder: Path) -> list[str]:
    task = f"{shlex.quote(str(folder))}/${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
    return ["status=$?", f"rm -f {task}_submitted.pkl {task}_0_result.pkl", "exit $status"]


def _minutes(shape: ArrayShape, site: Site, config: EvaluationConfig) -> int:
    return math.ceil(shape.candidates * config.time_limit_s / 60) + site.evaluation.extra_minutes
