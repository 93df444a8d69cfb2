"""A task's file as the processes that import it meet it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evohpc import linux
from evohpc.cli.signals import tidied_up
from evohpc.config.task_name import TaskName
from evohpc.evaluation import worker
from evohpc.jobs import array_task
from evohpc.tasks.base import load_task

Load = Callable[[], object]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def in_a_job_array(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    array_task.run(lambda *order: (load(), None)[1], "r", 0, "n", 0)


def in_a_worker(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", "--serve", "r", "--parent", str(os.getppid())])
    monkeypatch.setattr(linux, "die_with_parent", lambda parent, number: None)
    monkeypatch.setattr(worker, "serve", lambda run, share: load())
    worker.main()


def in_a_command(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    with tidied_up():
        load()


@pytest.mark.parametrize("process", [in_a_job_array, in_a_worker, in_a_command])
def test_a_signal_that_comes_while_the_file_is_imported_is_no_fault_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: Callable[[Load, pytest.MonkeyPatch], None]
) -> None:
    """It would be the result of an attempt: a stopped search would have lost one, and a preempted node be at fault."""
    file = tmp_path / "task.py"
    file.write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\n")
    with pytest.raises(SystemExit):
        process(lambda: load_task(TaskName("Tiny", file), {}), monkeypatch)
