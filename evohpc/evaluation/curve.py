"""How the error of a network fell while it was trained: what the task measured of each checkpoint to choose one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from evohpc.messages import Result

Curve = tuple[tuple[float, float], ...]
"""(step, error) of checkpoints, in the order of training."""

MOST = 100
"""Points of a curve that are kept."""
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Measured(Result):
    """The result of an attempt as its file holds it. The database, which is copied every round, has no curves."""

    curve: Curve = ()
    """Empty for what failed, for a program that is no network, and where the task does not tell (`Score.curve`)."""


def kept(told: Mapping[float, float]) -> Curve:
    """Return what is kept of a task's curve: `MOST` points with errors that can be, of six digits. One is no curve."""
    real = [(step, error) for step, error in sorted(told.items()) if math.isfinite(step + error) and error >= 0]
    return thinned(tuple((_rounded(step), _rounded(error)) for step, error in real), MOST) if len(real) > 1 else ()


def thinned(curve: Curve, most: int) -> Curve:
    """Return so many points of a curve at most: the first, the least and the last, and others evenly between.

    Args:
        most: 3 or more.
    """
    if len(curve) <= most:
        return curve
    stride = (len(curve) - 1) / (most - 2)
    places = {curve.index(least(curve)), *(round(number * stride) for number in range(most - 1))}
    return tuple(curve[place] for place in sorted(places))


def least(curve: Curve) -> tuple[float, float]:
    """Return the point of the least error, the first of equals."""
    return min(curve, key=lambda point: point[1])


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
