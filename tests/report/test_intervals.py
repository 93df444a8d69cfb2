import math
import random
from itertools import product

import pytest

from evohpc.report.intervals import bootstrap, permutation, wilson


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


@pytest.mark.parametrize(("size", "covered"), [(5, 0.84), (3, 0.70)])
def test_of_few_values_it_covers_the_mean_as_seldom_as_the_pages_say(size: int, covered: float) -> None:
    rng = random.Random(2)
    bounds = [bootstrap([rng.gauss(0, 1) for _ in range(size)])[1:] for _ in range(1000)]
    assert sum(low <= 0 <= high for low, high in bounds) / 1000 == pytest.approx(covered, abs=0.03)


def test_a_bootstrap_interval_is_that_of_all_resamples() -> None:
    values = [-91.0, -83.0, -228.0, -2.0, -144.0]
    means = sorted(sum(sample) / 5 for sample in product(values, repeat=5))
    _, low, high = bootstrap(values)
    assert low == pytest.approx(means[int(0.025 * len(means))], abs=3)
    assert high == pytest.approx(means[int(0.975 * len(means))], abs=3)


def test_the_permutation_test_is_exact() -> None:
    assert permutation([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == pytest.approx(2 / 20)
    assert permutation([4.0, 5.0, 6.0], [1.0, 2.0, 3.0]) == pytest.approx(2 / 20)
    assert permutation([1.0, 6.0], [2.0, 5.0]) == 1.0
    assert math.isnan(permutation([], [1.0]))
    many = permutation([*map(float, range(20))], [*(50.0 + i for i in range(20))])
    assert 0 < many < 0.001


def test_by_chance_p_is_small_as_often_as_it_says() -> None:
    rng = random.Random(3)
    found = [permutation([rng.gauss(0, 1) for _ in range(5)], [rng.gauss(0, 1) for _ in range(5)]) for _ in range(1000)]
    assert 0.02 < sum(p < 0.05 for p in found) / 1000 < 0.07


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
