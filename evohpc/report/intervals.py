"""Intervals for shares and for what several searches found. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054
"""The normal distribution's quantile at 0.975."""

RESAMPLES = 10_000
"""Of a bootstrap, each as large as the values are many. EvoPrompting draws 100 of size 20. The bounds of so few
depend on chance, and samples of 20 from five runs make the interval of their mean half as wide as it is."""

_SEED = 20230228
"""Of the resampling, so that the same runs give the same figures."""

_MOST_PERMUTED = 200_000
"""Ways to divide two groups that are all looked at; of more, so many are drawn."""


def wilson(successes: int, total: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927); all of [0, 1] where nothing was counted."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = successes / total, Z_95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 / (1 + z2 / total) * (share * (1 - share) / total + z2 / (4 * total**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(values: Sequence[float]) -> tuple[float, float, float]:
    """Return mean, and 2.5 and 97.5 % of the means of resamples; the bounds are NaN for fewer than two values.

    Of few values they are too narrow: such an interval of five covers the true mean in about 84 % of cases, of three in
    about 70 %. `permutation` says of two groups what few values can.
    """
    known = np.asarray([value for value in values if np.isfinite(value)], dtype=float)
    if known.size < 2:
        return float(known.mean()) if known.size else float("nan"), float("nan"), float("nan")
    low, high = np.percentile(known[_resamples(known.size)].mean(axis=1), [2.5, 97.5])
    return float(known.mean()), float(low), float(high)


@cache
def _resamples(size: int) -> NDArray[np.int64]:
    """Return the places of the values in each resample. Shape (RESAMPLES, size)."""
    return np.random.Generator(np.random.Philox(_SEED)).integers(size, size=(RESAMPLES, size))


def permutation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return p of the permutation test (Fisher 1935) of two groups' means, two-sided; NaN if one of them is empty.

    It assumes no shape: of all ways to divide the values into groups of these sizes, the share whose means are as far
    apart. So it is at least 2 / 252 for five and five, and 2 / 20 for three and three.
    """
    if not first or not second:
        return float("nan")
    values, size = np.asarray([*first, *second], dtype=float), len(first)
    sums = values[_divisions(size, len(values))].sum(axis=1)
    apart = np.abs(sums / size - (values.sum() - sums) / len(second))
    observed = abs(float(np.mean(first)) - float(np.mean(second)))
    return float((apart >= observed - 1e-9 * (1 + observed)).mean())


@cache
def _divisions(size: int, total: int) -> NDArray[np.int64]:
    """Return the places of the first group, for each way to divide. Shape (ways, size)."""
    if math.comb(total, size) <= _MOST_PERMUTED:
        return np.asarray(list(combinations(range(total), size)))
    generator = np.random.Generator(np.random.Philox(_SEED))
    drawn = (generator.permutation(total)[:size] for _ in range(_MOST_PERMUTED // 10))
    return np.asarray([range(size), *drawn])  # the division itself is one of them, so that p is never 0
