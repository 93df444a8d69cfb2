"""What Slurm would get, for `evohpc submit --dry-run` and the doctor: made by the functions that a search uses."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.search import Config
from evohpc.config.site import Site
from evohpc.driver import dispatch, rungs
from evohpc.evaluation.benchmark import WORKER, shared_files
from evohpc.evolution.population import Budget
from evohpc.evolution.screening import candidate_id
from evohpc.jobs import array_script, array_task, side_by_side
from evohpc.jobs.array_script import ArrayShape
from evohpc.lm_job import script as lm_script
from evohpc.lm_job.script import LMWork
from evohpc.messages import SEED_ROUND, Attempt, EvaluationJob
from evohpc.run_folder import RunDir
from evohpc.sandbox import apptainer_room, apptainer_warm
from evohpc.sandbox.apptainer_command import Container
from evohpc.sandbox.apptainer_warm import Recipe
from evohpc.search import driver_job
from evohpc.search.seed_files import read_seeds
from evohpc.slurm import arrays


def text(run: RunDir, run_id: str, site: Site, config: Config) -> str:
    """Return the scripts of the driver, the seeds and round 0, and the Apptainer command of a candidate.

    Raises:
        ConfigError: the seeds cannot be read.
    """
    parts = dict(_parts(run, run_id, site, config))
    return "\n".join(f"# {title}\n{text}" for title, text in parts.items())


def seeds_job(run: RunDir, run_id: str, config: Config) -> EvaluationJob:
    """Return the job that evaluates the seeds, if screening refuses none of them.

    Raises:
        ConfigError: the seeds cannot be read.
    """
    names = [Path(name).stem for name in read_seeds(config.seeds)]
    return _job(run, run_id, SEED_ROUND, names, config.evaluation)


def children_job(run: RunDir, run_id: str, config: Config) -> EvaluationJob | None:
    """Return the job that evaluates the children of round 0, if screening refuses none; None if there is no round."""
    budget = Budget.of(config.search)
    if not budget.per_round or not budget.rounds:
        return None
    names = [candidate_id(0, p, s) for p in range(budget.prompts) for s in range(budget.samples)]
    return _job(run, run_id, 0, names, config.evaluation)


def lm_work(run: RunDir, run_id: str, site: Site, config: Config) -> LMWork | None:
    """Return the LM job of round 0; None if the search submits no LM job."""
    if site.lm is None or not config.lm.needs_a_model or not Budget.of(config.search).rounds:
        return None
    return lm_script.work_of(run.round(0), run_id, 0, config.lm.path or Path("MODEL"), hold=site.lm.hold)


def first_array(run: RunDir, job: EvaluationJob, site: Site, config: Config, largest: int = 0) -> tuple[str, str, int]:
    """Return (path of the script, the script, number of arrays) of the first array that a job is split into.

    Args:
        largest: Slurm's MaxArraySize; 0 if it is not known.
    """
    size = len(job.tasks)
    largest = min(largest or size, site.scheduler.max_queued or size)
    split = arrays.plan(run.round(job.round).slurm / job.name, job.name, size, largest)
    array, shape = split[0], ArrayShape.of(split[0], job)
    work = side_by_side.work_of(config.evaluation)
    command = array_task.command(work, run.path, job.round, job.name, array.first)
    script = array_script.text(array.folder, shape, command, site, config.evaluation)
    return str(array.folder / array.script), script, len(split)


def _job(run: RunDir, run_id: str, round: int, names: Sequence[str], config: EvaluationConfig) -> EvaluationJob:
    tasks = dispatch.pack([Attempt(name, 1) for name in names], config.candidates_per_task)
    return EvaluationJob(dispatch.job_name(run_id, run.round(round), 0), round, tasks)


def _parts(run: RunDir, run_id: str, site: Site, config: Config) -> Iterator[tuple[str, str]]:
    """Yield (title, text) of each part of the preview."""
    yield f"sbatch {run.path / 'driver.sbatch'}", driver_job.script(run.path, run_id, site)
    for job in filter(None, (seeds_job(run, run_id, config), children_job(run, run_id, config))):
        path, script, count = first_array(run, job, site, config)
        more = f"the first of {count} arrays; " if count > 1 else ""
        course = rungs.of_round(config.evaluation, job.round)
        if not course.is_single:
            more += f"then one of fewer tasks for each of {course.trainings - 1} more trainings; "
        yield f"sbatch {path}   ({more}more and smaller ones if the site's MaxArraySize is lower)", script
    if work := lm_work(run, run_id, site, config):
        yield f"sbatch {work.folder / lm_script.SCRIPT}", lm_script.text(work, site)
    if config.evaluation.runtime == "apptainer":
        command = _container(run, site)
        yield "for a candidate", shlex.join(command) + "\n"


def _container(run: RunDir, site: Site) -> list[str]:
    """Return the command of a candidate's container, with folders such as a compute node makes for it."""
    section = site.container
    host = Container(section.apptainer, section.image or Path("(container.image is not set)"), section.gpu)
    binds = apptainer_room.binds(Path("/tmp/evohpc-room-SCRATCH"), shared_files(run), section.binds)
    return apptainer_warm.arguments(Recipe(host, section.binds, WORKER), binds)
