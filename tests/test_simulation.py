"""benchmarks/simulate.py with few children: what must be true of any such simulation."""

from __future__ import annotations

import runpy
from dataclasses import replace
from typing import Any

import pytest
from support.paths import ROOT


@pytest.fixture(scope="module")
def simulation() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "simulate.py"))


def test_every_mechanism_ends_with_all_children_trained(simulation: dict[str, Any]) -> None:
    world = replace(simulation["World"](), children=32, rounds=4)
    for name, way in simulation["EACH"].items():
        search = simulation["Search"](world, way, 4, 0)
        hours = search.run() / 3600
        assert search.trained_s == pytest.approx(float(search.train.sum())), name
        assert 0 < search.trained_s / 3600 / 4 <= hours, name


def test_where_nothing_waits_the_time_is_that_of_the_longest(simulation: dict[str, Any]) -> None:
    nothing = {"queue_s": 1e-9, "array_task_s": 0, "driver_s": 0, "metadata_s": 0, "drawing_s": 0, "start_s": 0}
    world = replace(simulation["World"](), children=8, rounds=1, **nothing)
    search = simulation["Search"](world, simulation["EACH"]["none"], 8, 0)
    assert search.run() == pytest.approx(float(search.train.max()), rel=1e-6)
    alone = simulation["Search"](world, simulation["EACH"]["none"], 1, 0)
    assert alone.run() == pytest.approx(float(search.train.sum()), rel=1e-6)


def test_a_round_that_closes_at_a_share_waits_for_no_straggler(simulation: dict[str, Any]) -> None:
    world = replace(simulation["World"](), children=40, rounds=4, train_sigma=2.0)
    way = simulation["EACH"]["close at 0.9"]
    waits, goes_on = (simulation["Search"](world, how, 64, 1).run() for how in (replace(way, close_at=1.0), way))
    assert goes_on < waits


def test_the_tables_have_all_worlds_and_mechanisms(simulation: dict[str, Any]) -> None:
    for world in simulation["WORLDS"].values():
        found = simulation["result"](replace(world, children=16, rounds=2), (2, 4), 1)
        assert set(found["mechanisms"]) == set(simulation["EACH"])
        assert all(0 < cell["training"] <= 1 for row in found["mechanisms"].values() for cell in row.values())
        assert set(found["limits"]) == set(simulation["SLOWER"])
