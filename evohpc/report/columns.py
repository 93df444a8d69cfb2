"""A run by columns: what the charts and the page's table show of each candidate, in the order of the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evohpc.messages import SEED_ROUND
from evohpc.report import origin, tables
from evohpc.report.pareto import pareto_front
from evohpc.report.remarks import remarked
from evohpc.report.runs import Run
from evohpc.store.rows import Entry

Column = list[Any]


@dataclass(frozen=True)
class Columns:
    """Parallel lists, one item a candidate; an item is None where the candidate has no such value."""

    run: Run
    id: Column
    round: Column
    status: Column
    outcome: Column
    params: Column
    error: Column
    fitness: Column
    metric: Column
    temperature: Column
    """At which it was drawn."""
    parents: list[list[int]]
    """Places of the parents in these lists."""
    counts: list[bool]
    """Whether it can be among the best: trained, with an error below alpha."""

    @property
    def scored(self) -> list[int]:
        """Places of the candidates that have a size, an error and a fitness."""
        known = zip(self.params, self.error, self.fitness, strict=True)
        return [place for place, values in enumerate(known) if None not in values]

    @property
    def seeds(self) -> list[int]:
        """Places of the seeds that have a fitness."""
        return [place for place in self.scored if self.round[place] == SEED_ROUND]

    @property
    def front(self) -> list[int]:
        """Places of the Pareto front of those that count, by size."""
        places = [place for place in self.scored if self.counts[place]]
        return [places[i] for i in pareto_front([(self.params[p], self.error[p]) for p in places])]

    @property
    def best(self) -> int | None:
        """Place of the fittest of those that count."""
        return max((p for p in self.scored if self.counts[p]), key=lambda place: self.fitness[place], default=None)

    @property
    def is_size_times_error(self) -> bool:
        """Whether all fitness is -size * error, as in the paper; a task may define another."""
        return all(
            math.isclose(self.fitness[p], -self.params[p] * self.error[p], rel_tol=1e-6, abs_tol=1e-9)
            for p in self.scored
        )

    def take(self, name: str, places: Sequence[int]) -> Column:
        """Return one column at these places."""
        column = getattr(self, name)
        return [column[place] for place in places]


def columns(run: Run) -> Columns:
    """Return a run by columns."""
    place = {entry.candidate.id: number for number, entry in enumerate(run.entries)}
    candidates = [entry.candidate for entry in run.entries]
    return Columns(
        run=run,
        id=[c.id for c in candidates],
        round=[c.round for c in candidates],
        status=[str(c.status) for c in candidates],
        outcome=[tables.outcome(c.status) for c in candidates],
        params=_measured(run, "num_params"),
        error=_measured(run, "error"),
        fitness=_measured(run, "fitness"),
        metric=[e.result.metrics.get(run.metric) if e.result else None for e in run.entries],
        temperature=[origin.temperature(c) for c in candidates],
        parents=[[place[p] for p in dict.fromkeys(c.parents) if p in place] for c in candidates],
        counts=[run.counts(entry) for entry in run.entries],
    )


def payload(table: Columns) -> dict[str, Any]:
    """Return what the page's scripts has of the candidates: columns by name."""
    entries = table.run.entries
    candidates = [entry.candidate for entry in entries]
    names = ("id", "round", "status", "outcome", "params", "error", "fitness", "metric", "parents", "counts")
    return {
        **{name: getattr(table, name) for name in (*names, "temperature")},
        **{n: [getattr(c, n) for c in candidates] for n in ("prompt", "sample", "tokens")},
        "detail": [remarked(entry, table.run.error_below, {}).candidate.detail for entry in entries],
        "code_hash": [c.code_hash for c in candidates],
        "late_until": [table.run.late_until.get(entry.id) for entry in entries],
        "seconds": [_seconds(table.run, entry) for entry in entries],
        "attempt": _measured(table.run, "attempt"),
        "isolation": _measured(table.run, "isolation"),
        "host": _measured(table.run, "host"),
        "finished_at": _measured(table.run, "finished_at"),
        "source_sha256": _measured(table.run, "source_sha256"),
        "front": table.front,
        "best": table.best,
    }


def _measured(run: Run, name: str) -> Column:
    return [getattr(entry.result, name) if entry.result else None for entry in run.entries]


def _seconds(run: Run, entry: Entry) -> float | None:
    return 3600 * run.hours[entry.id] if entry.id in run.hours else None
