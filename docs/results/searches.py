"""The searches of docs/results, as their CSV files have them."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evohpc.report.intervals import wilson

Row = dict[str, str]
MAIN = ("evoprompting", "extended")
"""The arms that the page on MNIST-1D is about: its open pairs, and the intervals of its picture."""
STRICT = 0.2
"""A stricter bound on the error than alpha, beside which small and weak networks do not count."""
OUTCOMES = ("trained", "failed", "duplicate", "refused")
COSTLY = {"evaluated": ("trained", "failed"), "trained": ("trained",)}
"""What a child costs: an evaluation, which most failures end in its first seconds, or a whole training."""


@dataclass(frozen=True)
class Search:
    """What one search of an experiment left: ARM-SEED.csv."""

    arm: str
    seed: int
    rows: Sequence[Row]

    @cached_property
    def children(self) -> list[Row]:
        """All but the seeds, in the order in which they were drawn. One that was dropped at a rung was trained, too."""
        rows = [row for row in self.rows if row["round"] != "-1"]
        return [{**row, "outcome": "trained"} if row["outcome"] == "dropped" else row for row in rows]

    def steps(self) -> float:
        """Return how many steps its children were trained in all, those at lower rungs too. Results of before there
        were rungs have those of the one training."""
        steps = (row.get("steps_in_all") or row["metrics.reported_step"] for row in self.children)
        return sum(float(count or 0) for count in steps)

    def costly(self, outcomes: Collection[str]) -> list[Row]:
        """Return the children that ended so."""
        return [row for row in self.children if row["outcome"] in outcomes]

    def counted(self, error_below: float = 1.0) -> list[Row]:
        """Return the candidates with an error below alpha, and below this bound."""
        return [row for row in self.rows if row["counts"] == "True" and float(row["error"]) < error_below]

    def best(self, children: Sequence[Row] | None = None, error_below: float = 1.0) -> float:
        """Return the best fitness of the seeds and of these children, or of all, with an error below this bound."""
        known = {row["id"] for row in (self.children if children is None else children)}
        rows = [row for row in self.counted(error_below) if row["round"] == "-1" or row["id"] in known]
        return max(float(row["fitness"]) for row in rows)

    def best_of_first(self, count: int, kind: str) -> float:
        """Return the best fitness of the seeds and of the first children that cost as much as this kind."""
        return self.best(self.costly(COSTLY[kind])[:count])

    def curve(self) -> NDArray[np.float64]:
        """Return the best fitness when 0, 1, 2, ... children had been drawn. Shape (children + 1,)."""
        seeds = [float(row["fitness"]) for row in self.counted() if row["round"] == "-1"]
        found = [float(row["fitness"]) if row["counts"] == "True" else -math.inf for row in self.children]
        return np.maximum.accumulate([max(seeds, default=-math.inf), *found])


def read_searches(folder: Path) -> list[Search]:
    """Return the searches of an experiment, by arm and seed."""
    found = []
    for path in folder.glob("*-*.csv"):
        arm, _, seed = path.stem.rpartition("-")
        found.append(Search(arm, int(seed), read(path)))
    return sorted(found, key=lambda search: (search.arm, search.seed))


def fewest(searches: Sequence[Search]) -> dict[str, int]:
    """Return how many children of each kind of cost all searches have."""
    return {kind: min(len(search.costly(outcomes)) for search in searches) for kind, outcomes in COSTLY.items()}


def read(path: Path) -> list[Row]:
    """Return the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def share(count: int, total: int) -> str:
    """Return a count with its percentage and 95 % Wilson interval."""
    low, high = wilson(count, total)
    return f"{count} ({100 * count / total:.0f} %, {100 * low:.0f} to {100 * high:.0f})"
