"""Workers that live and die with the driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bench import Bench
from support.evaluating import CONFIG, make_run
from support.processes import beneath, command

from evohpc.errors import EvaluationError
from evohpc.evaluation.orders import TaskOrder
from evohpc.jobs import worker_process
from evohpc.jobs.local import LocalRunner
from evohpc.jobs.shares import WHOLE, Share
from evohpc.jobs.worker_process import Worker
from evohpc.messages import Attempt, EvaluationJob, Status, TaskReport, TaskState
from evohpc.run_folder import RunDir
from evohpc.sandbox import process_tree

DRIVER = """
import sys, time
from pathlib import Path
from evohpc.evaluation.orders import TaskOrder
from evohpc.jobs.local import LocalRunner
from evohpc.jobs.shares import WHOLE, Share
from evohpc.jobs.worker_process import Worker
from evohpc.messages import Attempt, EvaluationJob
runner = LocalRunner(Path(sys.argv[1]), workers=1)
runner.submit(EvaluationJob(sys.argv[2], 0, ((Attempt(sys.argv[3], 1),),)))
time.sleep(600)
"""


def job_of(name: str, tasks: int) -> EvaluationJob:
    """Return a job without files: its tasks are never run."""
    return EvaluationJob(name, 0, tuple((Attempt(f"{name}-{index}", 1),) for index in range(tasks)))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    run = make_run(tmp_path / "run")
    runner = LocalRunner(run.path, workers=1)
    yield Bench(run, runner)
    runner.close()


def is_training() -> list[int]:
    """Return the processes under this one that are candidates: children of a fork server."""
    tree = process_tree.descendants(os.getpid())
    servers = [pid for pid in tree if "fork_server" in command(pid) and "evohpc.evaluation.stage.main" in command(pid)]
    return [child for server in servers for child in process_tree.children(server)]


def wait_for_candidate() -> int:
    while not (found := is_training()):
        time.sleep(0.02)
    return found[0]


def gone(pids: list[int], within_s: float = 60) -> bool:
    deadline = time.monotonic() + within_s
    while any(command(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.slow
def test_a_worker_that_dies_loses_its_task_only_and_is_replaced(bench: Bench) -> None:
    job, after = bench.job(["s"], slow=True), bench.job(["next"])
    bench.submit(job)
    bench.submit(after)
    candidate = wait_for_candidate()
    worker, *_ = beneath(os.getpid(), "--serve")
    os.kill(worker, signal.SIGKILL)
    (report,) = bench.wait(job, TaskState.ENDED)
    assert (report.fault, report.reason) == (Status.LOST, "its worker ended: SIGKILL")
    assert gone([candidate])
    bench.wait(after, TaskState.ENDED)
    assert bench.results(after)["next"].status is Status.TRAINED


@pytest.mark.slow
def test_nothing_outlives_a_driver_that_is_killed(bench: Bench) -> None:
    job = bench.job(["s"], slow=True)
    arguments = [sys.executable, "-c", DRIVER, str(bench.run.path), job.name, "s"]
    with subprocess.Popen(arguments, start_new_session=True) as driver:
        wait_for_candidate()
        tree = process_tree.descendants(driver.pid)
        assert len(tree) >= 3
        driver.kill()
    assert gone(tree)


def test_a_worker_whose_driver_has_ended_does_nothing(tmp_path: Path) -> None:
    """Not even what it was told before: the next driver has somebody else do it."""
    with subprocess.Popen(["true"]) as driver:
        pass
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "evohpc.evaluation.worker",
        "--serve",
        tmp_path / "no run",
        "--parent",
        str(driver.pid),
    ]
    done = subprocess.run(command, input='{"round": 0, "name": "j", "index": 0}\n', capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


class Idle(Worker):
    """A worker that notes what it is told to do, and has done it."""

    def __init__(self, run: Path, share: Share = WHOLE) -> None:
        self.told: list[str] = []

    is_alive = True

    def run(self, order: TaskOrder) -> TaskReport:
        self.told.append(order.name)
        return TaskReport(TaskState.ENDED)

    def stop(self) -> None:
        pass

    close = stop


def test_a_task_that_is_cancelled_while_its_worker_starts_is_not_begun(tmp_path: Path) -> None:
    started: list[Idle] = []

    def start(run: Path, share: Share) -> Idle:
        started.append(Idle(run))
        runner.cancel(["first"])
        return started[-1]

    runner = LocalRunner(tmp_path, workers=1, start=start)
    runner.submit(job_of("first", 1))
    runner.submit(job_of("second", 1))
    while runner.poll({"second": 1})["second"][0].state is not TaskState.ENDED:
        time.sleep(0.01)
    runner.close()
    assert [worker.told for worker in started] == [["second"]]


def test_gpus_that_the_driver_was_given_by_name_are_dealt_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    shares: list[Share] = []
    have_begun = threading.Barrier(3)

    def start(run: Path, share: Share) -> Idle:
        shares.append(share)
        have_begun.wait(30)
        return Idle(run, share)

    runner = LocalRunner(tmp_path, workers=3, start=start)
    runner.submit(job_of("three", 3))
    while {report.state for report in runner.poll({"three": 3})["three"]} != {TaskState.ENDED}:
        time.sleep(0.01)
    runner.close()
    gpus = sorted(share.environment["CUDA_VISIBLE_DEVICES"] for share in shares)
    assert (gpus, {share.gpu for share in shares}) == (["2", "2", "5"], {1.0}), "and nobody's memory is limited"


def test_a_task_whose_worker_cannot_be_started_is_lost_and_the_next_one_has_its_turn(tmp_path: Path) -> None:
    failures = iter([OSError(11, "Resource temporarily unavailable")])

    def start(run: Path, share: Share) -> Idle:
        for failure in failures:
            raise failure
        return Idle(run)

    runner = LocalRunner(tmp_path, workers=1, start=start)
    runner.submit(job_of("two", 2))
    while {report.state for report in runner.poll({"two": 2})["two"]} != {TaskState.ENDED}:
        time.sleep(0.01)
    runner.close()
    lost, done = runner.poll({"two": 2})["two"]
    assert lost.reason == "no worker can be started: [Errno 11] Resource temporarily unavailable"
    assert done.reason == ""


def test_an_answer_that_is_none_costs_its_task_and_its_worker_and_the_driver_does_not_wait_for_ever(
    tmp_path: Path,
) -> None:
    class Garbled(Idle):
        def run(self, order: TaskOrder) -> TaskReport:
            json.loads('{"refu')
            raise AssertionError("that is no JSON")

        def stop(self) -> None:
            self.is_alive = False

    kinds = iter([Garbled, Idle])
    runner = LocalRunner(tmp_path, workers=1, start=lambda run, share: next(kinds)(run))
    runner.submit(job_of("two", 2))
    deadline = time.monotonic() + 30
    while {report.state for report in runner.poll({"two": 2})["two"]} != {TaskState.ENDED}:
        assert time.monotonic() < deadline, "it is waited for for ever"
        time.sleep(0.01)
    runner.close()
    lost, done = runner.poll({"two": 2})["two"]
    assert (lost.fault, lost.reason.partition(":")[0]) == (Status.LOST, "what its worker said is no answer")
    assert done.reason == ""


@pytest.mark.slow
def test_ctrl_c_reaches_the_driver_only_which_ends_all_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "CLOSE_WITHIN_S", 600.0)  # it is not this that ends them
    others = process_tree.descendants(os.getpid())  # of fixtures that last for the session
    job = bench.job(["s1"], ["s2"], slow=True)
    bench.submit(job)
    candidate = wait_for_candidate()
    tree = [pid for pid in process_tree.descendants(os.getpid()) if pid not in others]
    assert os.getpgid(0) not in {os.getpgid(pid) for pid in tree}
    for pid in tree:
        if pid != candidate:
            os.kill(pid, signal.SIGINT)  # they would ignore it even if it reached them
    assert not gone(tree, within_s=0.1)
    assert bench.reports(job)[0].state is TaskState.RUNNING
    started = time.monotonic()
    bench.runner.close()
    assert time.monotonic() - started < 40, "they waited for the candidate, which sleeps for a minute"
    assert gone(tree)
    assert {report.state for report in bench.reports(job)} == {TaskState.ENDED}


def test_a_host_below_the_minimum_is_refused(tmp_path: Path) -> None:
    config = CONFIG.replace("{time_limit_s", "{minimum_isolation: container, time_limit_s")
    run: RunDir = make_run(tmp_path / "run", config)
    runner = LocalRunner(run.path, workers=1)
    bench = Bench(run, runner)
    job = bench.job(["a"])
    bench.submit(job)
    try:
        with pytest.raises(EvaluationError, match="minimum_isolation is 'container'"):
            bench.wait(job, TaskState.ENDED)
    finally:
        runner.close()
    assert bench.results(job) == {}
