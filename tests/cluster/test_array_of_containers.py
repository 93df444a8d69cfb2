"""Real candidates, each in containers of the image that the project builds, in the tasks of a real job array."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.cluster.daemons import wait_until
from support.cluster.slurm import Cluster
from support.evaluating import CONFIG, HONEST, PRELUDE, RUN_ID, make_run
from support.paths import MNIST1D_SEEDS as SEEDS
from support.processes import command, pid_namespaces

from evohpc import envelopes
from evohpc.config.search import load_config
from evohpc.config.site import ContainerSection, EvaluationJobs, SchedulerSection, Site
from evohpc.files import write_atomic
from evohpc.jobs.slurm import SlurmRunner
from evohpc.messages import Attempt, EvaluationJob, Isolation, Result, Status, TaskState
from evohpc.run_folder import RunDir
from evohpc.sandbox import process_tree

SOURCES = {"good": HONEST, "raises": PRELUDE + "1 / 0\n", "other": HONEST.replace("10)", "10, bias=False)")}


CONTAINED = "evaluation: {runtime: apptainer, minimum_isolation: container, "
CLRS = CONFIG.replace("task: mnist1d", "task: clrs").replace(
    "{steps: 20, eval_every: 10}", "{algorithm: bfs, steps: 2, hidden: 8, samples: 2, eval_every: 1, batch_size: 2}"
)
SEED = (SEEDS.parent / "clrs" / "v1_standard.py").read_text()

pytestmark = pytest.mark.slurm


def submit(
    path: Path, config: str, image: ContainerSection, tasks: Sequence[Sequence[str]], **sources: str
) -> tuple[RunDir, SlurmRunner, EvaluationJob]:
    """Hand out an array that evaluates these sources, some in each of its tasks."""
    run = make_run(path, config.replace("evaluation: {", CONTAINED))
    site = Site(
        container=image,
        scheduler=SchedulerSection(poll_s=0.5, submit_every_s=0),
        evaluation=EvaluationJobs(extra_memory_mb=500),
    )
    write_atomic(run.site, site.dump())
    for name, source in sources.items():
        write_atomic(run.round(0).candidate(name), source)
    job = EvaluationJob("arr-000-00", 0, tuple(tuple(Attempt(name, 1) for name in names) for names in tasks))
    write_atomic(run.round(0).job(job.name), envelopes.seal(RUN_ID, 1, job))
    runner = SlurmRunner(run.path, site, load_config(run.config).evaluation)
    runner.submit(job)
    return run, runner, job


def evaluate(
    path: Path, config: str, image: ContainerSection, tasks: Sequence[Sequence[str]], **sources: str
) -> RunDir:
    """Have an array evaluate these sources, some in each of its tasks; return the run."""
    run, runner, job = submit(path, config, image, tasks, **sources)
    wait_until(lambda: have_ended(runner, job), "it is over", 900)
    return run


def have_ended(runner: SlurmRunner, job: EvaluationJob) -> bool:
    return {report.state for report in runner.poll({job.name: len(job.tasks)})[job.name]} == {TaskState.ENDED}


def result(run: RunDir, name: str) -> Result:
    return envelopes.unseal(run.round(0).result(name, 1).read_bytes(), RUN_ID, Result)


def test_results_come_back(slurm: Cluster, built_containers: ContainerSection, tmp_path: Path) -> None:
    run = evaluate(tmp_path / "run", CONFIG, built_containers, [("good", "raises"), ("other",)], **SOURCES)
    results = {name: result(run, name) for name in SOURCES}
    assert {name: result.status for name, result in results.items()} == {
        "good": Status.TRAINED,
        "raises": Status.BUILD_ERROR,
        "other": Status.TRAINED,
    }
    assert {result.isolation for result in results.values()} == {Isolation.CONTAINER}
    assert built_containers.image is not None
    sha = hashlib.sha256(built_containers.image.read_bytes()).hexdigest()
    assert {result.versions["image"] for result in results.values()} == {f"sha256:{sha}"}
    assert len(list(Path(built_containers.local_folder).rglob("*.sif"))) == 1
    assert json.loads(run.round(0).result("good", 1).read_bytes())["epoch"] == 1


def test_containers_start_ahead_of_their_candidates(
    slurm: Cluster, containers: ContainerSection, tmp_path: Path
) -> None:
    ahead = containers.model_copy(update={"prewarm": True})
    run = evaluate(tmp_path / "run", CONFIG, ahead, [tuple(SOURCES)], **SOURCES)
    results = {name: result(run, name) for name in SOURCES}
    assert [result.status for result in results.values()] == [Status.TRAINED, Status.BUILD_ERROR, Status.TRAINED]
    assert {result.isolation for result in results.values()} == {Isolation.CONTAINER}


def test_candidates_of_a_task_run_at_once_each_in_a_container(
    slurm: Cluster, containers: ContainerSection, tmp_path: Path
) -> None:
    at_once = CONFIG.replace("evaluation: {", "evaluation: {candidates_per_task: 4, candidates_at_once: 2, ")
    sleeps = HONEST.replace("super().__init__()", "super().__init__(); import time; time.sleep(4)")
    sources = {**SOURCES, "good": sleeps, "also": sleeps}
    alone = containers.model_copy(update={"prewarm": False})
    run, runner, job = submit(tmp_path / "run", at_once, alone, [tuple(sources)], **sources)
    most = 0

    def is_over() -> bool:
        nonlocal most
        of_run = [pid for pid in process_tree.descendants(1) if str(run.path) in command(pid)]
        most = max(most, len({space for pid in of_run for space in pid_namespaces(pid, "libtorch_cpu")}))
        return have_ended(runner, job)

    wait_until(is_over, "it is over", 900)
    results = {name: result(run, name) for name in sources}
    assert {name: (found.status, found.isolation) for name, found in results.items()} == {
        name: (Status.BUILD_ERROR if name == "raises" else Status.TRAINED, Isolation.CONTAINER) for name in sources
    }
    assert most >= 2, "containers that had imported torch at the same time"


def test_scancel_ends_the_container_that_waits_too(
    slurm: Cluster, containers: ContainerSection, tmp_path: Path
) -> None:
    sleeps = PRELUDE + "import time\ntime.sleep(9999)\n"
    ahead = containers.model_copy(update={"prewarm": True})
    run, runner, job = submit(tmp_path / "run", CONFIG, ahead, [("a", "b")], a=sleeps, b=sleeps)
    namespaces: set[str] = set()

    def are_up() -> bool:
        for pid in process_tree.descendants(1):
            if str(run.path) in command(pid):
                namespaces.update(pid_namespaces(pid, "libtorch_cpu"))
        return len(namespaces) == 2

    wait_until(are_up, "a candidate runs, and the next one's container has imported torch", 600)
    slurm.run("scancel", *slurm.run("squeue", "--noheader", "--format=%A").split())
    wait_until(lambda: not slurm.run("squeue", "--noheader"), "Slurm has ended the task")
    wait_until(lambda: not namespaces & pid_namespaces(1, ""), "nothing is left of either container")
    wait_until(lambda: have_ended(runner, job), "the runner knows")
    assert not list(run.round(0).results.glob("*.json"))


def test_the_image_has_what_clrs_needs(slurm: Cluster, built_containers: ContainerSection, tmp_path: Path) -> None:
    found = result(evaluate(tmp_path / "run", CLRS, built_containers, [("v1",)], v1=SEED), "v1")
    assert (found.status, found.isolation) == (Status.TRAINED, Isolation.CONTAINER), found.detail
