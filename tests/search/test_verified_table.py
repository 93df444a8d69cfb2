from __future__ import annotations

from dataclasses import replace

import pytest
from support.rows import candidate, trained

from evohpc.messages import Status
from evohpc.search.verified_table import Finalist, table
from evohpc.store.rows import Entry

A, B = Finalist("a", 100, 0.1, -10.0), Finalist("b", 50, 0.1, -5.0)


def entry(id: str, fitness: float, error: float = 0.1, test: float | None = None) -> Entry:
    metrics = {"acc": 1 - error} if test is None else {"acc": 1 - error, "test_accuracy": test}
    result = trained(f"seed-{id}", fitness=fitness, error=error, metrics=metrics)
    return Entry(candidate(f"seed-{id}", status=Status.TRAINED), result)


def failed(id: str, status: Status, detail: str = "") -> Entry:
    return Entry(candidate(f"seed-{id}", status=status, detail=detail), None)


def test_means_and_sample_standard_deviations_over_the_seeds() -> None:
    fitness = (-10.0, -20.0, -30.0)
    (row,) = table([A], [{"a": entry("a", value, -value / 100, 0.9)} for value in fitness])
    assert (row.fitness, row.fitness_sd, row.fitness_min, row.fitness_max) == (-20, 10, -30, -10)
    assert (row.error, row.error_sd) == pytest.approx((0.2, 0.1))
    assert (row.test_accuracy, row.test_accuracy_sd) == pytest.approx((0.9, 0))
    assert (row.search_error, row.search_fitness, row.num_params) == (0.1, -10.0, 100)
    assert (row.trained, row.seeds, row.failures) == (3, 3, "")


def test_the_highest_mean_is_first_and_who_never_trained_last() -> None:
    never = Finalist("0", 1, 0.0, -0.0)
    rows = table([never, A, B], [{"a": entry("a", -7), "b": entry("b", -8), "0": failed("0", Status.NONFINITE)}])
    assert [row.id for row in rows] == ["a", "b", "0"]
    assert (rows[2].fitness, rows[2].fitness_min, rows[2].trained, rows[2].num_params) == (None, None, 0, 1)


def test_a_seed_that_failed_is_named_with_its_reason_and_left_out_of_the_mean() -> None:
    seeds = [entry("a", -4), failed("a", Status.TIMEOUT, "too slow"), entry("a", -8), failed("a", Status.LOST, "n3")]
    (row,) = table([A], [{"a": seed} for seed in seeds])
    assert (row.fitness, row.trained, row.seeds) == (-6, 2, 4)
    assert row.failures == "seed 1: timeout: too slow\nseed 3: lost: n3"


def test_what_is_not_over_yet_is_neither_trained_nor_failed() -> None:
    (row,) = table([A], [{"a": entry("a", -4)}, {}, {"a": failed("a", Status.PENDING)}])
    assert (row.trained, row.seeds, row.failures) == (1, 3, "")
    assert (row.fitness, row.fitness_sd, row.test_accuracy) == (-4, None, None)


def test_the_size_is_what_the_verification_counted() -> None:
    done = entry("a", -4)
    assert done.result is not None
    larger = Entry(done.candidate, replace(done.result, num_params=120))
    assert table([A], [{"a": larger}])[0].num_params == 120
