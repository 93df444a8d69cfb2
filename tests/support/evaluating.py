"""A small benchmark and an evaluator on it, shared by the tests that run candidates for real."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from evohpc.config.search import load_config
from evohpc.evaluation import worker
from evohpc.evaluation.attempt import Evaluator
from evohpc.files import write_atomic
from evohpc.messages import Attempt, Result, TaskInterface
from evohpc.run_folder import RunDir
from evohpc.tasks.data import draw_secret, prepare
from support.paths import MNIST1D_SEEDS as SEEDS

RUN_ID = "test-1"

PRELUDE = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
HONEST = PRELUDE + (
    "class Model(nn.Module):\n"
    "    def __init__(self):\n"
    "        super().__init__()\n"
    "        self.out = nn.LazyLinear(10)\n"
    "    def forward(self, x):\n"
    "        return self.out(x)\n"
)

CONFIG = """
task: mnist1d
task_options: {steps: 20, eval_every: 10}
seeds: SEEDS
lm: {engine: scripted}
evaluation: {time_limit_s: 300, memory_mb: 1500, disk_mb: 32, log_kb: 16, max_params: 1000000}
"""


def broken(line: str) -> str:
    """An honest program with another forward pass."""
    return HONEST.replace("return self.out(x)", line)


_MADE: dict[str, list[bytes]] = {}


def prepare_once(run: RunDir, task_file: Path | None = None) -> TaskInterface:
    """Prepare a run, with the data that the same options made before in this session: making it takes torch, and has
    tests of its own."""
    config = load_config(run.config)
    files = (run.secret, run.train, run.inputs, run.labels, run.task_interface)
    options = json.dumps([str(config.task), config.task_options, config.search.seed])
    for path, data in zip(files, _MADE.get(options, ()), strict=False):
        write_atomic(path, data)
    interface = prepare(run, task_file)
    if config.task.file is None:
        _MADE[options] = [path.read_bytes() for path in files]
    return interface


def make_run(path: Path, config: str = CONFIG) -> RunDir:
    """Return a prepared run folder without candidates."""
    run = RunDir(path)
    write_atomic(path / "given.yaml", config.replace("SEEDS", str(SEEDS)))
    write_atomic(run.config, load_config(path / "given.yaml").dump())
    write_atomic(run.provenance, f'{{"run_id": "{RUN_ID}"}}')
    draw_secret(run)
    prepare_once(run)
    return run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run of 20 training steps."""
    return make_run(tmp_path_factory.mktemp("small") / "run")


@pytest.fixture(scope="session")
def planted_environment() -> Iterator[dict[str, str]]:
    """Variables that no candidate may see, set before the sandbox starts."""
    planted = {"EVOHPC_CANARY": "canary-in-environment", "PYTHONSTARTUP": "/canary.py", "APPTAINER_BINDPATH": "/"}
    os.environ.update(planted)
    yield planted
    for name in planted:
        del os.environ[name]


@pytest.fixture(scope="session")
def evaluator(small_run: RunDir, planted_environment: dict[str, str]) -> Iterator[Evaluator]:
    """An evaluator with its fork server, kept for the whole session: candidates must not affect each other."""
    with worker.evaluator(small_run) as ready:
        yield ready


def run_source(evaluator: Evaluator, source: str, **limits: float) -> tuple[Result, str]:
    """Evaluate a program; return its result and what it printed."""
    config = evaluator.benchmark.config.model_copy(update=limits)
    limited = dataclasses.replace(evaluator, benchmark=dataclasses.replace(evaluator.benchmark, config=config))
    logs: list[bytes] = []
    result = limited.evaluate(Attempt("c", 1), source.encode(), logs.append)
    return result, b"".join(logs).decode()
