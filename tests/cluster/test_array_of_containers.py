"""Real candidates, each in containers of the image that the project builds, in the tasks of a real job array."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cluster.daemons import wait_until
from cluster.slurm import Cluster
from evaluating import CONFIG, HONEST, PRELUDE, RUN_ID, make_run

from evohpc import envelopes
from evohpc.config import load_config
from evohpc.jobs.base import TaskState
from evohpc.jobs.slurm import SlurmRunner
from evohpc.records import Attempt, EvaluationJob, Isolation, Result, Status
from evohpc.rundir import write_atomic
from evohpc.site import ContainerSection, EvaluationJobs, SchedulerSection, Site

SOURCES = {"good": HONEST, "raises": PRELUDE + "1 / 0\n", "good-too": HONEST.replace("10)", "10, bias=False)")}


@pytest.mark.slurm
@pytest.mark.timeout(400)
def test_results_come_back(slurm: Cluster, built_containers: ContainerSection, tmp_path: Path) -> None:
    config = CONFIG.replace("evaluation: {", "evaluation: {runtime: apptainer, minimum_isolation: container, ")
    run = make_run(tmp_path / "run", config)
    site = Site(
        container=built_containers,
        scheduler=SchedulerSection(poll_s=0.5, submit_every_s=0),
        evaluation=EvaluationJobs(extra_memory_mb=500),
    )
    write_atomic(run.site, site.dump())
    folder = run.round(0)
    for name, source in SOURCES.items():
        write_atomic(folder.candidate(name), source)
    job = EvaluationJob("arr-000-00", 0, ((Attempt("good", 1), Attempt("raises", 1)), (Attempt("good-too", 1),)))
    write_atomic(folder.job(job.name), envelopes.seal(RUN_ID, 1, job))

    runner = SlurmRunner(run.path, site, load_config(run.config).evaluation)
    runner.submit(folder.job(job.name), job.name, 2)
    wait_until(lambda: {r.state for r in runner.poll({job.name: 2})[job.name]} == {TaskState.ENDED}, "it is over", 180)

    results = {name: envelopes.unseal(folder.result(name, 1).read_bytes(), RUN_ID, Result) for name in SOURCES}
    assert {name: result.status for name, result in results.items()} == {
        "good": Status.TRAINED,
        "raises": Status.BUILD_ERROR,
        "good-too": Status.TRAINED,
    }
    assert {result.isolation for result in results.values()} == {Isolation.CONTAINER}
    sha = hashlib.sha256(built_containers.image.read_bytes()).hexdigest()
    assert {result.versions["image"] for result in results.values()} == {f"sha256:{sha}"}
    assert len(list(Path(built_containers.local_folder).rglob("*.sif"))) == 1
    assert json.loads(folder.result("good", 1).read_bytes())["epoch"] == 1
