"""What every JobRunner promises. A runner joins by a factory in `RUNNERS`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.bench import SITE, Bench
from support.cluster.slurm import Cluster
from support.evaluating import make_run

from evohpc.config.search import load_config
from evohpc.files import write_atomic
from evohpc.jobs.base import JobRunner
from evohpc.jobs.local import LocalRunner
from evohpc.jobs.slurm import SlurmRunner
from evohpc.messages import Status, TaskState

RUNNERS: dict[str, Callable[[Path], JobRunner]] = {
    "local": lambda run: LocalRunner(run, workers=1),
    "slurm": lambda run: SlurmRunner(run, SITE, load_config(run / "config.yaml").evaluation),
}


@pytest.fixture(scope="module", params=["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "slurm":
            cluster: Cluster = request.getfixturevalue("bare_cluster")
            patch.setenv("SLURM_CONF", cluster.environment()["SLURM_CONF"])
        yield from _bench(request, tmp_path_factory)


def _bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    run = make_run(tmp_path_factory.mktemp("jobs") / "run with 'a space")
    runner = RUNNERS[request.param](run.path)
    yield Bench(run, runner)
    runner.close()


def test_every_attempt_has_a_result_when_its_task_has_ended(bench: Bench) -> None:
    job = bench.job(["a"], ["b1", "b2"], ["c"])
    bench.submit(job)
    assert {report.state for report in bench.reports(job)} <= set(TaskState)
    bench.wait(job, TaskState.ENDED)
    results = bench.results(job)
    assert {id: result.status for id, result in results.items()} == dict.fromkeys(
        ["a", "b1", "b2", "c"], Status.TRAINED
    )
    assert len({(result.error, result.fitness) for result in results.values()}) == 1


def test_a_name_that_is_known_is_not_submitted_again(bench: Bench) -> None:
    job = bench.job(["once"])
    bench.submit(job)
    bench.wait(job, TaskState.ENDED)
    path = bench.run.round(0).result("once", 1)
    path.unlink()
    bench.submit(job)
    bench.wait(job, TaskState.ENDED)
    time.sleep(0.1)
    assert not path.exists()


def test_a_result_that_exists_is_left_alone(bench: Bench) -> None:
    job = bench.job(["twice"])
    path = bench.run.round(0).result("twice", 1)
    write_atomic(path, "written by a twin")
    bench.submit(job)
    bench.wait(job, TaskState.ENDED)
    assert path.read_text() == "written by a twin"
    path.unlink()


def test_one_attempt_that_cannot_be_evaluated_does_not_stop_the_next(bench: Bench) -> None:
    job = bench.job(["vanished", "present"])
    bench.run.round(0).candidate("vanished").unlink()
    bench.submit(job)
    bench.wait(job, TaskState.ENDED)
    assert bench.results(job).keys() == {"present"}


def test_an_unknown_name_has_ended(bench: Bench) -> None:
    reports = bench.runner.poll({"never-heard-of": 3})["never-heard-of"]
    assert [report.state for report in reports] == [TaskState.ENDED] * 3
    assert {report.fault for report in reports} == {Status.LOST}


@pytest.mark.slow
def test_cancelled_tasks_end_and_others_go_on(bench: Bench) -> None:
    slow = bench.job(["s1"], ["s2"], ["s3"], slow=True)
    quick = bench.job(["q"])
    bench.submit(slow)
    bench.submit(quick)
    time.sleep(0.1)
    bench.runner.cancel([slow.name, "never-heard-of"])
    bench.wait(slow, TaskState.ENDED)
    bench.wait(quick, TaskState.ENDED)
    assert bench.results(slow) == {}
    assert bench.results(quick)["q"].status is Status.TRAINED
