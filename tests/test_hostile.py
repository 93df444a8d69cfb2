"""Candidates that attack: each file in tests/hostile/ tries one thing, and its first line says how that must end.

`honest` means the score of the same model without the attack, `unaided` that it is no better, `chance` that what it hid
did not help it. The letters
name threats: F forging a score, Q using up the machine, H reaching the host or the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.evaluating import HONEST, run_source
from support.paths import TESTS

from evohpc.evaluation.attempt import Evaluator
from evohpc.messages import Isolation, Result, Status

ATTACKS = sorted((TESTS / "hostile").glob("*.py"))
LIMIT_S = 1.0


@pytest.fixture(scope="module")
def fenced(evaluator: Evaluator) -> Evaluator:
    """An evaluator that is safe to attack."""
    if evaluator.runtime.isolation is not Isolation.CONFINED:
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


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda path: path.stem)
def test_attack(attack: Path, fenced: Evaluator, honest: Result, canary: Path) -> None:
    source = attack.read_text().replace("CANARY", str(canary)).replace("LABELS", str(fenced.benchmark.labels))
    expected = source.splitlines()[0].partition(":")[0].split()[-1]
    limit = LIMIT_S if expected == "timeout" else 200.0

    result, log = run_source(fenced, source, time_limit_s=limit, memory_mb=700)

    assert result.seconds["total"] < limit + 60
    assert "ESCAPED" not in log
    assert "canary-in" not in log
    assert ("attacking" in log) == ("attacking" in source), "the attack did not run"
    assert len(log) <= fenced.benchmark.config.log_kb * 1024
    assert len(result.detail) <= 300
    assert result.detail.isprintable()
    _check(expected, result, honest)


def test_the_next_candidate_is_untouched(fenced: Evaluator, honest: Result) -> None:
    after, _ = run_source(fenced, HONEST)
    assert (after.error, after.fitness, after.metrics) == (honest.error, honest.fitness, honest.metrics)


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


def _check(expected: str, result: Result, honest: Result) -> None:
    if expected == "honest":
        assert result.status is Status.TRAINED, result.detail
        assert (result.num_params, result.error, result.fitness) == (410, honest.error, honest.fitness)
    elif expected == "unaided":
        assert (result.status, result.num_params) == (Status.TRAINED, 410), result.detail
        assert result.error >= honest.error
    elif expected == "chance":
        assert result.error is not None, result.detail
        assert result.error > 0.8
    else:
        assert result.status == expected, result.detail
        assert result.fitness is None
