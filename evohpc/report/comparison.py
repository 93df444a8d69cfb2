"""Several searches against each other: at equal evaluations and at equal time, by group and by pair. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evohpc.errors import ConfigError, did_you_mean
from evohpc.messages import SEED_ROUND
from evohpc.report.frames import flat
from evohpc.report.intervals import bootstrap, permutation
from evohpc.report.rounds import evaluation_hours, fitness, late_counts
from evohpc.report.runs import Run

POINTS = 200
"""Of a curve that is drawn."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The best fitness so far of one run, seeds first, against what it cost."""

    run: Run
    group: str
    cost: Floats
    """Evaluations of children, or hours of all evaluations; ascending. Shape (N,)."""
    best: Floats
    """Of the fitness, up to there; NaN before any candidate counts. Shape (N,)."""

    @property
    def end(self) -> float:
        """What the whole run cost."""
        return float(self.cost[-1]) if self.cost.size else 0.0

    def at(self, cost: Floats | float) -> Floats:
        """Return the best fitness when this much was spent."""
        if not self.cost.size:
            return np.full(np.shape(cost), np.nan)
        place = np.searchsorted(self.cost, cost, side="right") - 1
        return np.where(place < 0, np.nan, self.best[np.maximum(place, 0)])

    def cost_of(self, target: float) -> float | None:
        """Return what was spent when the best fitness was the target or better; None if it never was."""
        reached = np.flatnonzero(self.best >= target)
        return float(self.cost[reached[0]]) if reached.size else None


@dataclass(frozen=True)
class Band:
    """The mean of a group's curves, as far as all of its runs go, with its 95 % interval."""

    group: str
    cost: Floats
    mean: Floats
    low: Floats
    high: Floats


def group_of(run: Run, keys: Sequence[str]) -> str:
    """Return the name of a run's group: the values of these keys of its config, '-' for a snapshot without one.

    Raises:
        ConfigError: its config has no such key.
    """
    values = dict(flat(run.config)) | ({"task": run.task} if run.config else {})
    if unknown := [key for key in keys if values and key not in values]:
        near = ", ".join(key for key in values if key.split(".")[-1] == unknown[0].split(".")[-1])
        advice = f"take e.g. {near}" if near else f"{did_you_mean(unknown[0], values)}take e.g. search.variant"
        raise ConfigError(f"--by {unknown[0]}: {run.path} has no such key in its config; {advice}")
    return ", ".join(str(values.get(key, "-")) for key in keys) or "all"


def by_evaluations(run: Run, group: str) -> Curve:
    """Return the curve against the number of children that were evaluated, in the order in which they were drawn."""
    seeds = [e for e in run.entries if e.candidate.round == SEED_ROUND]
    children = [e for e in run.entries if e.candidate.round != SEED_ROUND and e.result is not None]
    return _curve(run, group, [*seeds, *children], [*[0.0] * len(seeds), *range(1, len(children) + 1)])


def by_hours(run: Run, group: str) -> Curve:
    """Return the curve against the wall hours of evaluations, summed, in the order in which these ended."""
    ended = [(e.result.finished_at, e.candidate.id, e) for e in run.entries if e.result is not None]
    entries = [entry for *_, entry in sorted(ended, key=lambda item: item[:2])]
    return _curve(run, group, entries, np.cumsum([evaluation_hours(run, [entry]) for entry in entries]))


def _curve(run: Run, group: str, entries: Sequence[Any], cost: Any) -> Curve:
    found = np.asarray([fitness(entry) if run.counts(entry) else np.nan for entry in entries], dtype=float)
    best = np.fmax.accumulate(found) if found.size else found
    return Curve(run, group, np.asarray(cost, dtype=float), best)


def bands(curves: Sequence[Curve]) -> list[Band]:
    """Return one band a group."""
    return [_band(group, [c for c in curves if c.group == group]) for group in groups(curves)]


def groups(curves: Sequence[Curve]) -> list[str]:
    """Return the groups' names, in order of first appearance."""
    return list(dict.fromkeys(curve.group for curve in curves))


def _band(group: str, curves: Sequence[Curve]) -> Band:
    cost = np.linspace(0, min(curve.end for curve in curves), POINTS)
    values = np.stack([curve.at(cost) for curve in curves])
    known = ~np.isnan(values).any(axis=0)
    cost, values = cost[known], values[:, known]
    intervals = [bootstrap(column) for column in values.T]
    mean, low, high = np.asarray(intervals).reshape(-1, 3).T
    return Band(group, cost, mean, low, high)


def run_rows(curves: Sequence[Curve], hours: Sequence[Curve], target: float | None) -> Iterator[dict[str, Any]]:
    """Yield one row a run: its end, and its best at the evaluations and at the time that all runs had."""
    evaluations, time = _common(curves), _common(hours)
    for curve, hour in zip(curves, hours, strict=True):
        trained = sum(1 for entry in curve.run.entries if entry.candidate.round >= 0 and entry.result is not None)
        yield {
            **{"run": curve.run.name, "group": curve.group, "path": str(curve.run.path), "is_over": curve.run.is_over},
            **{"seed": curve.run.config.get("search", {}).get("seed"), "evaluations": trained, "hours": hour.end},
            **late_counts(curve.run),
            "best_fitness": _last(curve),
            **{"equal_evaluations": int(evaluations), "best_at_equal_evaluations": _number(curve.at(evaluations))},
            **{"equal_hours": time, "best_at_equal_hours": _number(hour.at(time))},
            "evaluations_to_target": None if target is None else curve.cost_of(target),
            "hours_to_target": None if target is None else hour.cost_of(target),
        }


def group_rows(runs: Sequence[dict[str, Any]], target: float | None) -> Iterator[dict[str, Any]]:
    """Yield one row a group: means over its runs with bootstrap intervals, and how many reached the target."""
    for group in dict.fromkeys(row["group"] for row in runs):
        rows = [row for row in runs if row["group"] == group]
        yield {
            **{"group": group, "runs": len(rows), "unfinished": sum(not row["is_over"] for row in rows)},
            **_interval("best_fitness", rows),
            **_interval("best_at_equal_evaluations", rows),
            **_interval("best_at_equal_hours", rows),
            "reached_target": None if target is None else sum(row["hours_to_target"] is not None for row in rows),
            "median_evaluations_to_target": _median(rows, "evaluations_to_target"),
            "median_hours_to_target": _median(rows, "hours_to_target"),
        }


def pair_rows(runs: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one row for two groups: the difference of their runs of the same seed, at equal evaluations, and p of the
    permutation test of all of their runs, which are not paired there.

    A seed that a group has twice, or a run that has none, is in no pair.
    """
    for first, second in combinations(dict.fromkeys(row["group"] for row in runs), 2):
        a, b = _by_seed(runs, first), _by_seed(runs, second)
        seeds = sorted(a.keys() & b.keys())
        differences = [a[seed] - b[seed] for seed in seeds if a[seed] is not None and b[seed] is not None]
        mean, low, high = bootstrap(differences)
        wins = sum(difference > 0 for difference in differences)
        yield {
            **{"first": first, "second": second, "pairs": len(differences), "first_is_fitter": wins},
            "p": _number(permutation(*(_known(runs, group) for group in (first, second)))),
            **{"difference": _number(mean), "difference_low": _number(low), "difference_high": _number(high)},
        }


def _known(runs: Sequence[dict[str, Any]], group: str) -> list[float]:
    found = [row["best_at_equal_evaluations"] for row in runs if row["group"] == group]
    return [value for value in found if value is not None]


def _by_seed(runs: Sequence[dict[str, Any]], group: str) -> dict[Any, Any]:
    rows = [row for row in runs if row["group"] == group and row["seed"] is not None]
    seeds = [row["seed"] for row in rows]
    return {row["seed"]: row["best_at_equal_evaluations"] for row in rows if seeds.count(row["seed"]) == 1}


def _common(curves: Sequence[Curve]) -> float:
    return min((curve.end for curve in curves), default=0.0)


def _last(curve: Curve) -> float | None:
    return _number(curve.best[-1]) if curve.best.size else None


def _number(value: Any) -> float | None:
    """Return a number, None for NaN."""
    return None if math.isnan(value) else float(value)


def _interval(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, float | int | None]:
    """Return a mean with its interval, and of how many runs: of those that found anything."""
    found = [row[name] for row in rows if row[name] is not None]
    mean, low, high = bootstrap(found)
    bounds = {f"{name}_low": _number(low), f"{name}_high": _number(high)}
    return {name: _number(mean), **bounds, f"{name}_runs": len(found)}


def _median(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    """Return the median over those that reached the target; None unless half of all did."""
    costs = [math.inf if row[name] is None else row[name] for row in rows]
    median = float(np.median(costs)) if costs else math.inf
    return median if math.isfinite(median) else None
