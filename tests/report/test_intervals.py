import math
import random

import pytest

from evohpc.report.intervals import bootstrap, wilson


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_is_as_published(successes: int, total: int, low: float, high: float) -> None:
    """The last is Newcombe (1998), table I, method 3; the others by R's prop.test(correct=FALSE)."""
    assert wilson(successes, total) == pytest.approx((low, high), abs=1e-4)


def test_nothing_counted_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_bootstrap_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = random.Random(1)
    hits = 0
    for _ in range(400):
        _, low, high = bootstrap([rng.gauss(0, 1) for _ in range(20)])
        hits += low <= 0 <= high
    assert 0.87 < hits / 400 < 0.98


def test_few_values_do_not_pass_for_many() -> None:
    """Of five, samples of 20 would give an interval of half the width."""
    five = [1.0, 2.0, 3.0, 4.0, 5.0]
    _, low, high = bootstrap(five)
    assert high - low > 1.8


def test_the_same_values_give_the_same_interval() -> None:
    values = [1.0, 5.0, 2.0]
    assert bootstrap(values) == bootstrap(values)


def test_one_value_has_no_interval() -> None:
    mean, low, high = bootstrap([3.0, math.nan])
    assert mean == 3.0
    assert math.isnan(low)
    assert math.isnan(high)
    assert all(map(math.isnan, bootstrap([])))
