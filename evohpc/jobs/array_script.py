"""The sbatch script of one job array, made by submitit, with what submitit leaves open.

Its tasks start `array_task`, not submitit's worker. That wants a pickle named after the job id, so only after sbatch
has returned (a driver that dies in between leaves tasks that wait for a minute and fail), and writes results that
nobody reads: they are files of evohpc.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import submitit

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.site import Site
from evohpc.jobs.excluded_nodes import with_those_of_the_site
from evohpc.linux import python
from evohpc.messages import EvaluationJob
from evohpc.slurm.arrays import Array
from evohpc.slurm.script import after_setup, claim


@dataclass(frozen=True, slots=True)
class ArrayShape:
    """What one array asks of Slurm."""

    name: str
    """Slurm's job name."""
    size: int
    candidates: int
    """The most that one of its tasks evaluates."""

    def at_once(self, config: EvaluationConfig) -> int:
        """Return how many of them at the same time."""
        return min(self.candidates, config.candidates_at_once)

    @classmethod
    def of(cls, array: Array, job: EvaluationJob) -> ArrayShape:
        """Return the shape of one of the arrays that a job is split into."""
        return cls(array.name, array.size, max(map(len, job.tasks)))


class _Executor(submitit.SlurmExecutor):  # type: ignore[misc]
    @classmethod
    def affinity(cls) -> int:
        """A script can be shown where there is no Slurm."""
        return 1


def text(
    folder: Path,
    shape: ArrayShape,
    command: Sequence[str],
    site: Site,
    config: EvaluationConfig,
    excluded: Sequence[str] = (),
) -> str:
    """Return the script.

    Args:
        folder: of the array, where its tasks write what they say.
        command: what each task runs, as `array_task.command` returns it.
        excluded: nodes that it must not run on, beside those that the site excludes.
    """
    executor = _Executor(folder)
    executor.update_parameters(
        job_name=shape.name,
        time=_minutes(shape, site, config),
        cpus_per_task=shape.at_once(config) * config.threads,
        ntasks_per_node=1,
        array_parallelism=site.evaluation.max_parallel,
        stderr_to_stdout=True,
        # A step per task would cost slurmctld an RPC and the task 0.2 s. Without one, submitit's signal (USR2, its
        # preemption protocol, which misfires under short time limits) never reaches the task, and is not wanted.
        use_srun=False,
        signal_delay_s=0,
        wckey=None,
        setup=claim(folder, "SLURM_ARRAY_JOB_ID"),
        additional_parameters=_options(shape, site, config, excluded),
    )
    executor.parameters["map_count"] = shape.size
    words = after_setup(site.evaluation.setup, [*python(site.python), *command])
    return str(executor._make_submission_file_text(shlex.join(words), ""))


def _options(
    shape: ArrayShape, site: Site, config: EvaluationConfig, excluded: Sequence[str]
) -> dict[str, str | int | bool]:
    jobs = site.evaluation
    megabytes = shape.at_once(config) * (config.memory_mb + jobs.extra_memory_mb)
    memory = {"mem": f"{megabytes}M"} if jobs.ask_memory else {}
    options = jobs.sbatch_options({"requeue" if jobs.requeue else "no-requeue": True, **memory})
    if excluded:
        options["exclude"] = with_those_of_the_site(excluded, jobs)
    return options


def _minutes(shape: ArrayShape, site: Site, config: EvaluationConfig) -> int:
    one_after_the_other = math.ceil(shape.candidates / shape.at_once(config))
    return math.ceil(one_after_the_other * config.time_limit_s / 60) + site.evaluation.extra_minutes
