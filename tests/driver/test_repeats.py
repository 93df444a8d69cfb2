"""Searches with `evaluation.repeats`: children that are trained several times before they can be parents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from support.climbing import by_candidate, driven
from support.driving import CONFIG, make_run
from support.rows import trained

from evohpc.driver import repeats, rungs
from evohpc.driver.rungs import Course
from evohpc.messages import SEED_ROUND, Isolation, Result, Status

pytestmark = pytest.mark.usefixtures("unsynced")

TWICE_MORE = CONFIG.replace("evaluation: {", "evaluation: {repeats: 2, ")
AFTER_A_RUNG = TWICE_MORE.replace("evaluation: {", "evaluation: {rungs: [{keep: 0.6, task_options: {steps: 1}}], ")


def rung(row: Mapping[str, Any]) -> float | None:
    """Return after how many trainings a result was measured; None for a mean."""
    metrics = json.loads(row["metrics"])
    return None if repeats.TRAININGS in metrics else metrics["rung"]


def test_a_child_is_trained_as_often_as_the_config_says_and_counts_by_its_mean(tmp_path: Path) -> None:
    rows = driven(make_run(tmp_path / "run", TWICE_MORE))
    of = {row["id"]: [r for r in rows["results"] if r["candidate_id"] == row["id"]] for row in rows["candidates"]}
    whole = [row for row in rows["candidates"] if row["round"] >= 0 and row["status"] == "trained"]
    assert whole
    for row in whole:
        *each, mean = [result for result in of[row["id"]] if result["status"] == "trained"]
        assert [rung(result) for result in each] == [0, 1, 2]
        assert rung(mean) is None
        assert row["fitness"] == mean["fitness"] == pytest.approx(fmean(result["fitness"] for result in each))
        metrics = json.loads(mean["metrics"])
        assert metrics["fitness_sd"] == pytest.approx(stdev(result["fitness"] for result in each))
        assert (metrics["trainings"], json.loads(mean["seconds"])) == (3, {})


def test_seeds_are_trained_once(tmp_path: Path) -> None:
    rows = driven(make_run(tmp_path / "run", TWICE_MORE))
    results = by_candidate(rows)
    assert all(results[row["id"]] == [("trained", -1.0)] for row in rows["candidates"] if row["round"] == SEED_ROUND)


def test_one_training_that_fails_is_the_childs_failure(tmp_path: Path) -> None:
    rows = driven(make_run(tmp_path / "run", TWICE_MORE))
    results = by_candidate(rows)
    failed = [row["id"] for row in rows["candidates"] if row["status"] == "timeout"]
    assert any(("trained", 0.0) in results[id] for id in failed)
    assert not set(failed) & {row["candidate_id"] for row in rows["pool"]}


def test_after_a_rung_only_who_passes_it_is_trained_again_and_its_cheap_training_does_not_count(tmp_path: Path) -> None:
    rows = driven(make_run(tmp_path / "run", AFTER_A_RUNG))
    results = by_candidate(rows)
    for row in rows["candidates"]:
        measured = [place for status, place in results[row["id"]] if status == "trained"]
        if row["status"] == "dropped":
            assert measured == [0.0]
        elif row["status"] == "trained" and row["round"] >= 0:
            *lower, mean = [r for r in rows["results"] if r["candidate_id"] == row["id"] and r["status"] == "trained"]
            assert [rung(result) for result in lower] == [0, 1, 2, 3]
            assert mean["error"] == pytest.approx(fmean(result["error"] for result in lower[1:]))
    assert {row["status"] for row in rows["candidates"]} >= {"dropped", "trained", "timeout"}


def test_a_mean_keeps_the_largest_size_and_the_weakest_isolation() -> None:
    first, second = (
        replace(
            trained("a", number),
            num_params=size,
            error=error,
            fitness=-size * error,
            metrics={"acc": 1 - error, f"only-{number}": 1.0},
            isolation=isolation,
            host=f"n{number}",
        )
        for number, size, error, isolation in ((2, 120, 0.5, Isolation.CONFINED), (4, 100, 0.25, Isolation.CONTAINER))
    )
    mean = repeats.mean([first, second])
    assert (mean.attempt, mean.num_params, mean.error, mean.fitness) == (5, 120, 0.375, -42.5)
    assert (mean.isolation, mean.host, mean.source_sha256) == (Isolation.CONFINED, "", second.source_sha256)
    sd = {"error_sd": 0.25 / 2**0.5, "fitness_sd": 35 / 2**0.5, "trainings": 2}
    assert mean.metrics == pytest.approx({"acc": 0.625, **sd})


@pytest.mark.parametrize(
    ("statuses", "is_final"),
    [("T", False), ("TT", False), ("TTT", True), ("TTF", True), ("TF", True), ("LTL", False), ("LTLTLT", True)],
)
def test_what_is_final(statuses: str, is_final: bool) -> None:
    status = {"T": Status.TRAINED, "F": Status.TIMEOUT, "L": Status.LOST}
    results: list[Result] = [replace(trained("a", n), status=status[s]) for n, s in enumerate(statuses, 1)]
    assert rungs.is_final(results, Course(repeats=1), retries=5) is is_final
