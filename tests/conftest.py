"""Fixtures that several test files share, and how long a test may take that brings up a cluster."""

import os
import signal

import pytest
from support.browsing import browser
from support.cluster.fixtures import (
    accounting_cluster,
    bare_cluster,
    built_containers,
    built_lm,
    contained,
    contained_run,
    containers,
    slurm,
    slurm_with_accounting,
    tiny_model,
)
from support.evaluating import evaluator, planted_environment, small_run
from support.searching import finished_run, made_once
from support.tally import summarise, tally
from support.unsynced import unsynced


def pytest_configure() -> None:
    """Let output be what it is where nobody asks for colours, and nothing know of a job that the tests may run in."""
    for name in [*os.environ]:
        if name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS") or name.startswith("SLURM_"):
            del os.environ[name]
    # Threads that share such small tensors wait for each other more than they work, above all on a busy machine.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # A shell starts what is to run in the background deaf to Ctrl-C, and so would all be that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests time that only a hang uses up, above all those on a real Slurm or Apptainer: the first of them
    install these, and make images, on a machine that may be new, slow and shared."""
    for item in items:
        if item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.timeout(1800), append=False)
        elif item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1800))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how often what was tried."""
    summarise(terminalreporter)


__all__ = [
    "accounting_cluster",
    "bare_cluster",
    "browser",
    "built_containers",
    "built_lm",
    "contained",
    "contained_run",
    "containers",
    "evaluator",
    "finished_run",
    "made_once",
    "planted_environment",
    "slurm",
    "slurm_with_accounting",
    "small_run",
    "tally",
    "tiny_model",
    "unsynced",
]
