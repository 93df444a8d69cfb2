"""Containers of candidates that follow each other: which starts when, and what one has of another (nothing)."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from support.cluster.daemons import wait_until
from support.evaluating import CONFIG, HONEST, PRELUDE, RUN_ID, make_run, run_source
from support.paths import TESTS
from support.processes import command, pid_namespaces

from evohpc import envelopes
from evohpc.config.site import ContainerSection, Site
from evohpc.errors import EvaluationError
from evohpc.evaluation import device, worker
from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.benchmark import WORKER
from evohpc.files import write_atomic
from evohpc.linux import python
from evohpc.messages import Attempt, EvaluationJob, Result, Status
from evohpc.run_folder import RunDir
from evohpc.sandbox import apptainer_succession, process_tree
from evohpc.sandbox.apptainer_command import Container
from evohpc.sandbox.apptainer_succession import Succession, starts_ahead
from evohpc.sandbox.apptainer_warm import Recipe, WarmContainer

real = pytest.mark.slurm
"""Needs a real Apptainer."""


class Fake:
    """A container that notes what becomes of it."""

    def __init__(self, started: list[Fake]) -> None:
        self.is_awaited = self.is_closed = self.is_broken = False
        self.is_alive = True
        started.append(self)

    def wait(self) -> None:
        if self.is_broken:
            raise EvaluationError("it does not start")
        self.is_awaited = True

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    """All containers so far, in the order of their starts."""
    found: list[Fake] = []
    monkeypatch.setattr(apptainer_succession, "WarmContainer", lambda recipe: Fake(found))
    return found


def succession(started: list[Fake], ahead: bool = True) -> Succession:
    recipe = Recipe(Container("apptainer", Path("/i")), [], WORKER, ahead=ahead)
    return Succession(recipe, Fake(started))  # type: ignore[arg-type]


def test_the_next_one_starts_once_this_one_runs_and_is_the_only_one_that_waits(started: list[Fake]) -> None:
    kept = succession(started)
    kept.expect_another()
    assert len(started) == 1
    stages = [kept.container() for _ in "123"]
    assert all(one is started[0] for one in stages)  # type: ignore[comparison-overlap]
    assert len(started) == 2
    assert (started[0].is_awaited, started[1].is_awaited) == (True, False)


def test_it_is_the_next_candidate_s_and_ends_with_that_one(started: list[Fake]) -> None:
    kept = succession(started)
    kept.expect_another()
    kept.container()
    kept.end_candidate()
    assert [one.is_closed for one in started] == [True, False]
    assert kept.container() is started[1]  # type: ignore[comparison-overlap]
    kept.end_candidate()
    assert (len(started), started[1].is_closed) == (2, True)  # no third one: nobody was expected


def test_no_container_waits_where_none_is_to_start_ahead(started: list[Fake]) -> None:
    kept = succession(started, ahead=False)
    kept.expect_another()
    kept.container()
    assert len(started) == 1


@pytest.mark.parametrize("state", [{"is_broken": True}, {"is_alive": False}])
def test_one_that_ended_while_it_waited_is_replaced(started: list[Fake], state: dict[str, bool]) -> None:
    kept = succession(started)
    kept.expect_another()
    kept.container()
    kept.end_candidate()
    vars(started[1]).update(state)
    assert kept.container() is started[2]  # type: ignore[comparison-overlap]
    assert (started[1].is_closed, started[2].is_awaited) == (True, True)


def test_both_end_even_if_one_of_them_cannot(started: list[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = succession(started)
    kept.expect_another()
    kept.container()

    def refuse() -> None:
        raise EvaluationError("processes of a candidate cannot be killed")

    monkeypatch.setattr(started[0], "close", refuse)
    with pytest.raises(EvaluationError, match="cannot be killed"):
        kept.close()
    assert started[1].is_closed


@pytest.mark.parametrize(
    ("wanted", "seen", "granted", "starts"),
    [
        ("auto", 8, None, True),
        ("auto", 1, None, False),
        ("auto", 8, "1", False),  # a job of one core, which nothing confines to it
        ("auto", 8, "2", True),
        ("auto", 1, "8", False),
        ("auto", 8, "2(x2)", True),
        (True, 1, "1", True),
        (False, 8, None, False),
    ],
)
def test_containers_start_ahead_where_there_is_more_than_one_core(
    monkeypatch: pytest.MonkeyPatch, wanted: bool | Literal["auto"], seen: int, granted: str | None, starts: bool
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(seen)))
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    if granted is not None:
        monkeypatch.setenv("SLURM_CPUS_ON_NODE", granted)
    assert starts_ahead(wanted) is starts


@dataclasses.dataclass(frozen=True)
class Ahead:
    """An evaluator whose containers start ahead, and all that have started but the first."""

    evaluator: Evaluator
    containers: list[WarmContainer]

    def evaluate(self, source: str, is_followed: bool = False) -> tuple[Result, str]:
        """Evaluate a program; return its result and what it printed."""
        if is_followed:
            self.evaluator.runtime.expect_another()
        return run_source(self.evaluator, source)


@pytest.fixture(scope="module")
def ahead(containers: ContainerSection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ahead]:
    run = prewarmed(tmp_path_factory.mktemp("ahead") / "run", containers)
    found: list[WarmContainer] = []

    def start(recipe: Recipe) -> WarmContainer:
        found.append(WarmContainer(recipe))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch, worker.evaluator(run) as evaluator:
        patch.setattr(apptainer_succession, "WarmContainer", start)
        yield Ahead(evaluator, found)


def prewarmed(path: Path, containers: ContainerSection) -> RunDir:
    """Return a run whose containers start ahead."""
    config = CONFIG.replace("evaluation: {", "evaluation: {runtime: apptainer, minimum_isolation: container, ")
    run = make_run(path, config)
    write_atomic(run.site, Site(container=containers.model_copy(update={"prewarm": True})).dump())
    return run


@real
class TestTheContainerThatWaits:
    def test_is_the_next_candidate_s_who_finds_nothing_and_whom_nobody_reached(self, ahead: Ahead) -> None:
        notes, reaches = (
            (TESTS / "hostile" / name).read_text() for name in ("passes_notes.py", "reaches_for_another_candidate.py")
        )
        honest, _ = ahead.evaluate(HONEST, is_followed=True)
        assert len(ahead.containers) == 1
        ahead.evaluator.runtime.expect_another()
        device.check(ahead.evaluator.benchmark, ahead.evaluator.runtime)  # a stage without a candidate
        _, waiting = ahead.containers
        waiting.wait()
        attacker, log = ahead.evaluate(reaches.partition("class Model")[0] + always(notes, "leave()"))
        assert (attacker.status, attacker.error) == (Status.TRAINED, honest.error), attacker.detail
        assert (log.count("attacking") >= 2, "ESCAPED" in log) == (True, False), log
        victim, log = ahead.evaluate(always(notes, "[print('ESCAPED: found', place) for place in find()]"))
        assert (victim.status, victim.error, log) == (Status.TRAINED, honest.error, ""), victim.detail
        assert len(ahead.containers) == 2  # the victim's is the one that waited

    def test_is_replaced_if_it_ended(self, ahead: Ahead) -> None:
        others = servers(os.getpid())
        ahead.evaluate(PRELUDE + "1 / 0\n", is_followed=True)
        waiting, before = ahead.containers[-1], len(ahead.containers)
        wait_until(lambda: set(servers(os.getpid())) - {*others}, "its server is there")
        for pid in set(servers(os.getpid())) - {*others}:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not waiting.is_alive, "it ends with its server")
        result, _ = ahead.evaluate(HONEST)
        assert (result.status, len(ahead.containers) - before) == (Status.TRAINED, 1), result.detail


@real
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("has_imported", [True, False])
def test_the_container_that_waits_dies_with_the_evaluator(
    containers: ContainerSection, tmp_path: Path, number: signal.Signals, has_imported: bool
) -> None:
    run = prewarmed(tmp_path / "run", containers)
    job = EvaluationJob("job-000-00", 0, ((Attempt("sleeps", 1), Attempt("next", 1)),))
    write_atomic(run.round(0).job(job.name), envelopes.seal(RUN_ID, 1, job))
    for name in ("sleeps", "next"):
        write_atomic(run.round(0).candidate(name), PRELUDE + "import time\ntime.sleep(9999)\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch), "SLURM_ARRAY_TASK_ID": "0"}
    with subprocess.Popen([*python(), "-c", TASK, str(run.path), job.name], env=environment) as task:
        namespaces: set[str] = set()

        def are_up() -> bool:
            namespaces.update(pid_namespaces(task.pid, "libtorch_cpu" if has_imported else "python"))
            return len(namespaces) == 2

        wait_until(are_up, "a candidate runs, and the next one's container is there")
        os.kill(task.pid, number)
        task.wait()
    wait_until(lambda: not namespaces & pid_namespaces(1, ""), "nothing is left of either container")
    assert number == signal.SIGKILL or not list(scratch.iterdir())


TASK = """
import sys
from evohpc.evaluation import worker
from evohpc.jobs import array_task
array_task.run(worker.run_array_task, sys.argv[1], 0, sys.argv[2], 0)
"""


def always(notes: str, action: str) -> str:
    """The program that leaves notes in training and looks for them later, doing one of both in each stage."""
    head, _, rest = notes.partition("if is_training:\n")
    return head + action + "\n\n\n" + rest.partition("\n\n\n")[2]


def servers(root: int) -> list[int]:
    """Return the fork servers, and stages, in containers beneath a process."""
    own = os.readlink("/proc/self/ns/pid")
    return [
        pid
        for pid in process_tree.descendants(root)
        if "apptainer_server" in command(pid) and os.readlink(f"/proc/{pid}/ns/pid") != own
    ]
