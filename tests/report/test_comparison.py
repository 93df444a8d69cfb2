import io
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.reporting import START, candidate, trained

from evohpc.errors import ConfigError
from evohpc.messages import Status
from evohpc.report.comparison import bands, by_evaluations, by_hours, group_of, group_rows, pair_rows, run_rows
from evohpc.report.runs import Run
from evohpc.report.tables import groups_table
from evohpc.store.rows import Entry


def run(
    name: str, fitness: Sequence[float | None], *, seed: int = 0, variant: str = "a", seconds: float = 3600.0
) -> Run:
    """A run of one seed of fitness -100 and children of these; None is one that failed."""
    entries = [Entry(candidate("seed-x"), trained("seed-x", 1000, 0.1, seconds={"total": seconds}))]
    for number, value in enumerate(fitness):
        id, at = f"r000p00s{number:03d}", START + timedelta(hours=number + 1)
        result = trained(id, 1000, 0.0 if value is None else -value / 1000, at=at, seconds={"total": seconds})
        if value is None:
            result = trained(id, 1, 0.1, at=at, seconds={"total": seconds}, status=Status.TIMEOUT, fitness=None)
        entries.append(Entry(candidate(id, round=0, status=result.status), result))
    entries.append(Entry(candidate("r000p01s000", round=0, status=Status.DUPLICATE), None))
    config = {"search": {"seed": seed, "variant": variant, "error_threshold": 1.0}}
    attempts = [entry.result for entry in entries if entry.result]
    return Run(name, Path(name), entries, attempts, frozenset({-1, 0}), "val_accuracy", config=config, rounds=1)


def rows(*runs: Run, target: float | None = None) -> list[Any]:
    names = [group_of(r, ["search.variant"]) for r in runs]
    evaluations = [by_evaluations(r, n) for r, n in zip(runs, names, strict=True)]
    return list(run_rows(evaluations, [by_hours(r, n) for r, n in zip(runs, names, strict=True)], target))


def test_a_curve_counts_what_was_evaluated_and_never_falls() -> None:
    curve = by_evaluations(run("a", [-200, None, -50, -70]), "a")
    assert list(curve.cost) == [0, 1, 2, 3, 4]  # the duplicate cost nothing
    assert list(curve.best) == pytest.approx([-100, -100, -100, -50, -50])
    assert float(curve.at(2.5)) == pytest.approx(-100)
    assert float(curve.at(99)) == pytest.approx(-50)


def test_time_is_summed_over_candidates_seeds_included() -> None:
    curve = by_hours(run("a", [-200, -50], seconds=1800.0), "a")
    assert list(curve.cost) == pytest.approx([0.5, 1.0, 1.5])
    assert math.isnan(curve.at(0.1))


def test_runs_are_compared_at_what_the_shortest_has() -> None:
    long, short = rows(run("a", [-90, -80, -10]), run("b", [-95]))
    assert long["equal_evaluations"] == 1
    assert long["best_at_equal_evaluations"] == pytest.approx(-90)
    assert long["best_fitness"] == pytest.approx(-10)
    assert short["best_at_equal_evaluations"] == pytest.approx(-95)


def test_the_cost_of_a_target_is_that_of_the_first_that_reaches_it() -> None:
    first, never = rows(run("a", [-200, -50, -40]), run("b", [-99, -98, -97]), target=-50)
    assert first["evaluations_to_target"] == 2
    assert never["evaluations_to_target"] is None


def test_a_median_counts_those_that_never_arrive() -> None:
    found = rows(run("a", [-50]), run("b", [-99]), run("c", [-99]), target=-50)
    (group,) = group_rows(found, -50)
    assert group["reached_target"] == 1
    assert group["median_evaluations_to_target"] is None


def test_a_mean_says_of_how_many_runs_it_is() -> None:
    """A search that found nothing has no fitness, and its group none the better mean for it."""
    found, nothing = run("a", [-50]), run("b", [-60])
    nothing = replace(
        nothing, config={**nothing.config, "search": {**nothing.config["search"], "error_threshold": 0.0}}
    )
    (group,) = group_rows(rows(found, nothing), None)
    for name in ("best_fitness", "best_at_equal_evaluations", "best_at_equal_hours"):
        assert group[f"{name}_runs"] == 1
    assert group["best_fitness"] == pytest.approx(-50)
    text = Console(width=200, record=True, file=io.StringIO())
    text.print(groups_table([group]))
    assert "-50 (1 of 2)" in text.export_text()
    (neither,) = group_rows(rows(nothing), None)
    text.print(groups_table([neither]))
    assert "(0 of 1)" in text.export_text()


def test_pairs_are_of_the_same_seed_and_lone_ones_are_left_out() -> None:
    runs = [
        *(run("a0", [-50], seed=0), run("a1", [-60], seed=1), run("a2", [-1], seed=2)),
        *(run("b0", [-70], seed=0, variant="b"), run("b1", [-61], seed=1, variant="b")),
    ]
    (pair,) = pair_rows(rows(*runs))
    assert (pair["first"], pair["second"], pair["pairs"], pair["first_is_fitter"]) == ("a", "b", 2, 2)
    assert pair["difference"] == pytest.approx((20 + 1) / 2)
    assert pair["difference_low"] <= pair["difference"] <= pair["difference_high"]


def test_a_band_ends_where_the_first_of_its_runs_does() -> None:
    curves = [by_evaluations(r, "a") for r in (run("a", [-90, -80, -10]), run("b", [-50]))]
    (band,) = bands(curves)
    assert band.cost[-1] == 1
    assert band.mean[-1] == pytest.approx((-90 - 50) / 2)


def test_an_unknown_key_is_a_sentence_with_a_right_one() -> None:
    with pytest.raises(ConfigError, match=r"--by variant: .* take e\.g\. search\.variant"):
        group_of(run("a", []), ["variant"])
