"""Intervals for shares and for what several searches found. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054
"""The normal distribution's quantile at 0.975."""

RESAMPLES, RESAMPLE_SIZE = 100, 20
"""EvoPrompting, figures 2 and 3: "100 bootstrap samples of size 20"."""

_SEED = 20230228
"""Of the resampling, so that the same runs give the same figures."""


def wilson(successes: int, total: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927); all of [0, 1] where nothing was counted."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = successes / total, Z_95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 / (1 + z2 / total) * (share * (1 - share) / total + z2 / (4 * total**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(values: Sequence[float]) -> tuple[float, float, float]:
    """Return mean, and 2.5 and 97.5 % of the means of resamples; the bounds are NaN for fewer than two values."""
    known = np.asarray([value for value in values if np.isfinite(value)], dtype=float)
    if known.size < 2:
        return float(known.mean()) if known.size else float("nan"), float("nan"), float("nan")
    low, high = np.percentile(_resampled(known).mean(axis=1), [2.5, 97.5])
    return float(known.mean()), float(low), float(high)


def _resampled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return resamples with replacement. Shape (RESAMPLES, RESAMPLE_SIZE)."""
    generator = np.random.Generator(np.random.Philox(_SEED))
    return generator.choice(values, size=(RESAMPLES, RESAMPLE_SIZE))
