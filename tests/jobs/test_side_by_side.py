"""Several candidates of one array task at the same time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cluster.daemons import wait_until
from support.evaluating import CONFIG, HONEST, PRELUDE, RUN_ID, make_run
from support.processes import beneath, command

from evohpc import envelopes
from evohpc.config.evaluation import EvaluationConfig
from evohpc.errors import EvaluationError
from evohpc.evaluation import worker
from evohpc.evaluation.orders import TaskOrder
from evohpc.files import write_atomic, write_once
from evohpc.jobs import side_by_side
from evohpc.jobs.shares import WHOLE, Share
from evohpc.jobs.worker_process import Worker
from evohpc.messages import Attempt, EvaluationJob, Result, Status, TaskReport, TaskState
from evohpc.run_folder import RunDir
from evohpc.sandbox import process_tree

AT_ONCE = CONFIG.replace("evaluation: {", "evaluation: {candidates_per_task: 6, candidates_at_once: 2, ")


def task_of(path: Path, config: str = AT_ONCE, **sources: str) -> RunDir:
    """Return a run with one array task of these candidates."""
    run = make_run(path, config)
    for id, source in sources.items():
        write_atomic(run.round(0).candidate(id), source)
    job = EvaluationJob("j", 0, (tuple(Attempt(id, 1) for id in sources),))
    write_atomic(run.round(0).job(job.name), envelopes.seal(RUN_ID, 1, job))
    return run


def results(run: RunDir) -> dict[str, Result]:
    paths = run.round(0).results.glob("*.json")
    found = [envelopes.unseal(path.read_bytes(), RUN_ID, Result) for path in paths]
    return {result.candidate_id: result for result in found}


class Acting(Worker):
    """A worker in this process, that does what it is told to do with an order. As the kernel has it with a real one, it
    ends with the thread that made it."""

    def __init__(self, run: RunDir, act: Callable[[TaskOrder], TaskReport], share: Share = WHOLE) -> None:
        self._run, self._act, self.share = run, act, share
        self.is_dead, self._maker = False, threading.current_thread()

    @property
    def is_alive(self) -> bool:
        return not self.is_dead

    def run(self, order: TaskOrder) -> TaskReport:
        if not self._maker.is_alive():
            raise AssertionError("it ended with its thread")
        return self._act(order)

    def stop(self) -> None:
        self.is_dead = True

    def close(self) -> None: ...


DONE = TaskReport(TaskState.ENDED)


def test_as_many_are_at_work_as_the_config_says_and_each_place_has_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    run = task_of(tmp_path / "run", **dict.fromkeys("abcde", HONEST))
    write_once(run.round(0).result("b", 1), b"done before")
    both, orders, shares = threading.Barrier(2), list[TaskOrder](), list[Share]()

    def act(order: TaskOrder) -> TaskReport:
        orders.append(order)
        both.wait(30)
        return DONE

    def start(path: Path, share: Share) -> Acting:
        shares.append(share)
        return Acting(run, act, share)

    side_by_side.run_array_task(str(run.path), 0, "j", 0, start)
    assert sorted(order.only for order in orders if order.only is not None) == [0, 2, 3, 4]
    told = {order.only: order.is_followed for order in orders}
    assert (told[0], told[2], told[4]) == (True, True, False)
    assert [(share.environment, share.gpu) for share in shares] == [({"CUDA_VISIBLE_DEVICES": "4"}, 0.5)] * 2


def test_a_place_that_cannot_evaluate_leaves_its_attempts_to_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = task_of(tmp_path / "run", **dict.fromkeys("abcd", HONEST))
    done: list[int | None] = []
    has_one, all_else_is_done = threading.Event(), threading.Event()

    def refuse(order: TaskOrder) -> TaskReport:
        has_one.set()
        all_else_is_done.wait(30)
        raise EvaluationError("the GPU is broken")

    def work(order: TaskOrder) -> TaskReport:
        has_one.wait(30)
        done.append(order.only)
        if len(done) == 3:
            all_else_is_done.set()
        return DONE

    actions = iter([work, refuse])
    side_by_side.run_array_task(str(run.path), 0, "j", 0, lambda path, share: Acting(run, next(actions), share))
    assert sorted(index for index in done if index is not None) == [0, 1, 2, 3]
    assert "this place evaluates no more: the GPU is broken" in caplog.text
    assert not results(run), "the worker writes them"


@pytest.mark.parametrize("error", [EvaluationError("no room"), OSError(11, "Resource temporarily unavailable")])
def test_where_no_place_can_evaluate_every_result_says_so(tmp_path: Path, error: Exception) -> None:
    run = task_of(tmp_path / "run", **dict.fromkeys("abc", HONEST))

    def refuse(order: TaskOrder) -> TaskReport:
        raise error

    side_by_side.run_array_task(str(run.path), 0, "j", 0, lambda path, share: Acting(run, refuse, share))
    found = results(run)
    assert {id: (result.status, result.detail) for id, result in found.items()} == {
        id: (Status.CONTAINER_ERROR, str(error)) for id in "abc"
    }


def test_a_config_that_cannot_be_read_is_the_machine_s_fault(tmp_path: Path) -> None:
    run = task_of(tmp_path / "run", a=HONEST)
    run.config.unlink()
    side_by_side.run_array_task(str(run.path), 0, "j", 0)
    (result,) = results(run).values()
    assert (result.status, f"{run.config}: cannot read" in result.detail) == (Status.CONTAINER_ERROR, True)


def test_a_worker_that_dies_loses_its_attempt_only_and_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = task_of(tmp_path / "run", AT_ONCE.replace("at_once: 2", "at_once: 1"), **dict.fromkeys("abc", HONEST))
    workers: list[Acting] = []

    def act(order: TaskOrder) -> TaskReport:
        workers[-1].is_dead = order.only == 0
        return TaskReport(TaskState.ENDED, Status.LOST, "its worker ended: SIGKILL") if order.only == 0 else DONE

    def start(path: Path, share: Share) -> Acting:
        workers.append(Acting(run, act, share))
        return workers[-1]

    side_by_side.run_array_task(str(run.path), 0, "j", 0, start)
    assert len(workers) == 2
    assert "attempt 0 of the task: its worker ended: SIGKILL" in caplog.text


def test_an_error_that_nobody_thought_of_costs_its_attempt_and_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = task_of(tmp_path / "run", **dict.fromkeys("abcd", HONEST))
    done: list[int | None] = []

    def act(order: TaskOrder) -> TaskReport:
        if order.only == 0:
            raise ValueError("an answer that is no JSON")
        done.append(order.only)
        return DONE

    task = threading.Thread(
        target=side_by_side.run_array_task,
        args=(str(run.path), 0, "j", 0, lambda path, share: Acting(run, act, share)),
        daemon=True,
    )
    task.start()
    task.join(30)
    assert not task.is_alive(), "it waits for one that never comes back"
    assert sorted(index for index in done if index is not None) == [1, 2, 3]
    assert "an answer that is no JSON" in caplog.text


def test_one_at_a_time_needs_no_worker_of_its_own() -> None:
    assert side_by_side.work_of(EvaluationConfig()) is worker.run_array_task
    many = EvaluationConfig(candidates_per_task=4, candidates_at_once=4)
    assert side_by_side.work_of(many) is side_by_side.run_array_task


@pytest.mark.slow
def test_real_candidates_end_as_they_do_one_after_the_other(tmp_path: Path) -> None:
    sources = {"good": HONEST, "raises": PRELUDE + "1 / 0\n", "other": HONEST.replace("10)", "10, bias=False)")}
    one, both = (task_of(tmp_path / name, config, **sources) for name, config in [("1", CONFIG), ("2", AT_ONCE)])
    (both.secret).write_bytes(one.secret.read_bytes())
    worker.run_array_task(str(one.path), 0, "j", 0)
    side_by_side.run_array_task(str(both.path), 0, "j", 0)
    ended = [{id: (r.status, r.detail, r.num_params) for id, r in results(run).items()} for run in (one, both)]
    assert ended[0] == ended[1]
    assert {status for status, _, _ in ended[0].values()} == {Status.TRAINED, Status.BUILD_ERROR}


@pytest.mark.slow
def test_what_slurm_ends_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    sleeps = PRELUDE + "import time\ntime.sleep(9999)\n"
    run = task_of(tmp_path / "run", **dict.fromkeys("abc", sleeps))
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    arguments = ["evohpc.jobs.side_by_side:run_array_task", str(run.path), "0", "j", "0"]
    slurm = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0", "TMPDIR": str(scratch)}
    command_line = [sys.executable, "-m", "evohpc.jobs.array_task", *arguments]
    with subprocess.Popen(command_line, env={**os.environ, **slurm}, stdout=subprocess.PIPE) as task:
        try:
            wait_until(lambda: len(candidates(task.pid)) == 2, "two candidates run", 120)
            tree = process_tree.descendants(task.pid)
            assert len(beneath(task.pid, "--serve")) == 2
        finally:
            task.send_signal(signal.SIGTERM)
        task.communicate(timeout=60)
        assert task.returncode == 128 + signal.SIGTERM
    wait_until(lambda: not any(command(pid) for pid in tree), "nothing is left of it", 30)
    assert not list(scratch.iterdir())
    assert not results(run)


def candidates(parent: int) -> list[int]:
    """Return the processes of candidates: children of a stage's supervisor, which is a fork server's child."""
    tree = process_tree.descendants(parent)
    servers = [pid for pid in tree if "fork_server" in command(pid) and "evohpc.evaluation.stage.main" in command(pid)]
    supervisors = [child for server in servers for child in process_tree.children(server)]
    return [stage for supervisor in supervisors for stage in process_tree.children(supervisor)]
