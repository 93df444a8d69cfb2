"""Candidates that attack: each file in tests/hostile/ tries one thing, and its first line says how that must end.

`honest` means the score of the same model without the attack, `chance` that what it hid did not help it, `known` that
it gets through, as docs/guarantees.md says. The letters name threats: F forging a score, Q using up the machine, H
reaching the host or the network.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.evaluating import CONFIG, HONEST, make_run, run_source
from support.paths import TESTS
from support.tally import Tally

from evohpc.config.task_name import TaskName
from evohpc.doctor.attacks import Attack, too_busy
from evohpc.evaluation.attempt import Evaluator
from evohpc.messages import Isolation, Result, Status

ATTACKS = sorted((TESTS / "hostile").glob("*.py"))
ATTACKS_ON_CLRS = sorted((TESTS / "hostile/clrs").glob("*.py"))
CLRS = {"algorithm": "bfs", "hidden": 8, "steps": 4, "eval_every": 2, "batch_size": 4, "samples": 8, "sizes": [4, 8]}
HONEST_ON_CLRS = """
from torch import nn

class Triplets(nn.Module):
    def __init__(self, nb_triplet_fts, out_size):
        super().__init__()
        self.out = nn.LazyLinear(out_size)

    def forward(self, z, edge_fts, graph_fts):
        return self.out(edge_fts)
"""
TELLING = """
import os
from pathlib import Path

import torch
from torch import nn

IS_TRAINING = not (Path(__file__).parent / "weights").exists()

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)
        self.register_buffer("path", torch.zeros(512, dtype=torch.int32))
        if IS_TRAINING:
            Path("note").touch()
            self.path[:] = torch.tensor(list(os.getcwd().encode().ljust(512)))

    def forward(self, x):
        if not IS_TRAINING:
            note = bytes(self.path.tolist()).decode().strip() + "/note"
            print("told of", note, "ESCAPED" if os.path.exists(note) else "")
        return self.out(x)
"""
"""A model whose numbers, all of them counted, say where its training left something."""
LIMIT_S = 1.0


@pytest.fixture(scope="module", params=["process", pytest.param("container", marks=pytest.mark.slurm)])
def fenced(request: pytest.FixtureRequest) -> Evaluator:
    """An evaluator that is safe to attack, of each runtime."""
    evaluator: Evaluator = request.getfixturevalue("evaluator" if request.param == "process" else "contained")
    if evaluator.runtime.isolation.rank < Isolation.CONFINED.rank:
        pytest.skip(f"this host reaches isolation '{evaluator.runtime.isolation}' only: not running attacks on it")
    return evaluator


@pytest.fixture(scope="module")
def honest(fenced: Evaluator) -> Result:
    result, _ = run_source(fenced, HONEST)
    assert result.status is Status.TRAINED, result.detail
    return result


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file of this user that must be as it was afterwards."""
    path = tmp_path / "ssh" / "id_canary"
    path.parent.mkdir()
    path.write_text("canary-in-file")
    before = path.stat()
    yield path
    assert path.read_text() == "canary-in-file"
    assert path.stat().st_mode == before.st_mode
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def every_fifth(attacks: list[Path]) -> list[Any]:
    """Leave the others to the slow tests: each takes as long as an evaluation."""
    return [
        attack if place % 5 == 0 else pytest.param(attack, marks=pytest.mark.slow)
        for place, attack in enumerate(attacks)
    ]


@pytest.mark.parametrize("attack", every_fifth(ATTACKS), ids=lambda path: path.stem)
def test_attack(attack: Path, fenced: Evaluator, honest: Result, canary: Path, tally: Tally) -> None:
    tried = Attack.read(attack)
    limit = LIMIT_S if tried.expected == "timeout" else 200.0
    source = tried.source(canary, fenced.benchmark.labels)

    result, log = run_source(fenced, source, time_limit_s=limit, memory_mb=700)

    assert result.seconds["total"] < limit + 60
    assert len(log) <= fenced.benchmark.config.log_kb * 1024
    if tried.expected == "timeout" and (busy := too_busy(result)):
        pytest.skip(busy)  # it was ended in time, but what it would have done with a processor nobody can say
    assert tried.complaint(result, log, honest) == ""
    if tried.expected == "known":
        return
    tally(f"hostile candidates at isolation {result.isolation}; none forged a score or reached what it must not", 1)


@pytest.fixture(scope="module")
def fenced_clrs(fenced: Evaluator, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    """The same processes on another benchmark."""
    options = json.dumps(CLRS)
    config = CONFIG.replace("mnist1d", "clrs").replace("{steps: 20, eval_every: 10}", options)
    run = make_run(tmp_path_factory.mktemp("clrs") / "run", config)
    benchmark = dataclasses.replace(
        fenced.benchmark,
        task=TaskName("clrs"),
        task_options=CLRS,
        train=run.train,
        inputs=run.inputs,
        labels=run.labels,
    )
    return Evaluator(benchmark, fenced.runtime)


@pytest.mark.parametrize("attack", ATTACKS_ON_CLRS, ids=lambda path: path.stem)
def test_attack_on_clrs(attack: Path, fenced_clrs: Evaluator, tally: Tally) -> None:
    honest, _ = run_source(fenced_clrs, HONEST_ON_CLRS)
    assert honest.status is Status.TRAINED, honest.detail
    result, log = run_source(fenced_clrs, attack.read_text())
    assert "attacking" in log
    assert "ESCAPED" not in log
    assert (result.status, result.error, result.num_params) == (Status.TRAINED, honest.error, honest.num_params)
    tally(f"hostile candidates at isolation {result.isolation}; none forged a score or reached what it must not", 1)


def test_the_next_candidate_is_untouched(fenced: Evaluator, honest: Result) -> None:
    after, _ = run_source(fenced, HONEST)
    assert (after.error, after.fitness, after.metrics) == (honest.error, honest.fitness, honest.metrics)


def test_what_a_stage_leaves_is_gone_even_for_one_that_was_told_where_it_lay(fenced: Evaluator) -> None:
    result, log = run_source(fenced, TELLING)
    assert result.status is Status.TRAINED, result.detail
    assert "told" in log
    assert "ESCAPED" not in log


def test_every_number_in_the_state_dict_counts(fenced: Evaluator) -> None:
    hiding = HONEST.replace(
        "self.out = nn.LazyLinear(10)",
        "self.out = nn.LazyLinear(10); self.register_buffer('b', torch.zeros(100, dtype=torch.int64))",
    )
    result, _ = run_source(fenced, hiding)
    assert result.num_params == 410 + 200


def test_a_shared_tensor_counts_once(fenced: Evaluator) -> None:
    tied = HONEST.replace("self.out = nn.LazyLinear(10)", "self.out = nn.LazyLinear(10); self.also = self.out")
    result, _ = run_source(fenced, tied)
    assert (result.status, result.num_params) == (Status.TRAINED, 410)


def test_the_largest_model_is_refused(fenced: Evaluator) -> None:
    result, _ = run_source(fenced, HONEST, max_params=409)
    assert result.status is Status.PROTOCOL_VIOLATION
    assert result.detail == "the model has 410 numbers, evaluation.max_params is 409"
