from __future__ import annotations

from dataclasses import replace

import pytest

from evohpc.config.search import SearchConfig
from evohpc.config.stop import StopConfig
from evohpc.evolution.stopping import Spent, affordable, idle_rounds, reached
from evohpc.messages import SEED_ROUND, Status
from evohpc.store.rows import Kin

SPENT = Spent(best=-100.0, idle_rounds=2, evaluations=50, compute_hours=1.5, wall_hours=3.0)


@pytest.mark.parametrize(
    ("key", "enough", "more"),
    [
        ("target_fitness", -100.0, -99.0),
        ("rounds_without_improvement", 2, 3),
        ("evaluations", 50, 51),
        ("compute_hours", 1.5, 1.6),
        ("wall_hours", 3.0, 3.1),
    ],
)
def test_a_budget_is_reached_when_all_of_it_is_spent(key: str, enough: float, more: float) -> None:
    assert [name for name, *_ in reached(StopConfig.model_validate({key: enough}), SPENT)] == [key]
    assert list(reached(StopConfig.model_validate({key: more}), SPENT)) == []


def test_none_is_set_by_default() -> None:
    assert list(reached(StopConfig(), replace(SPENT, best=1e9, idle_rounds=10**9))) == []
    assert list(reached(StopConfig(target_fitness=-1), replace(SPENT, best=None))) == []


def kin(round: int, fitness: float | None, error: float = 0.1) -> Kin:
    return Kin(f"{round}{fitness}", round, (), Status.TRAINED, error, fitness)


def test_rounds_without_improvement_are_those_since_the_best_round() -> None:
    rows = [kin(SEED_ROUND, -50.0), kin(0, -60.0), kin(1, -40.0), kin(2, -40.0), kin(3, -1.0, error=0.7), kin(3, None)]
    search = SearchConfig()
    assert idle_rounds(rows, [SEED_ROUND], search) == 0
    assert idle_rounds(rows, [SEED_ROUND, 0], search) == 1, "no child was fitter than the best seed"
    assert idle_rounds(rows, [SEED_ROUND, 0, 1], search) == 0
    assert idle_rounds(rows, [SEED_ROUND, 0, 1, 2, 3], search) == 2, "neither as fit, nor fitter with too high an error"


def test_what_is_in_flight_is_paid_for() -> None:
    assert affordable(1.0, 0, 0.25) == 4
    assert affordable(1.0, 3, 0.25) == 1
    assert affordable(1.0, 5, 0.25) == 0
    assert affordable(0.2, 0, 0.25) == 0
    assert affordable(0.0, 0, None) == 0
    assert affordable(0.1, 0, None) > 10**6, "nothing is known of an evaluation yet"
