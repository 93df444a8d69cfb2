"""A run round by round: what became of the children, the best of them, and the time it took. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from evohpc.report import tables
from evohpc.report.intervals import wilson
from evohpc.report.runs import Run
from evohpc.store.rows import Entry

VALID_NOVEL = ("trained", "dropped")
"""The outcomes of children that are new and could be trained; a rung drops some of them before the end."""
UNSETTLED = ("machine fault", "pending")
"""The outcomes that say nothing of a child."""


def valid_novel(outcomes: Mapping[str, int]) -> tuple[int, int]:
    """Return how many children are valid and novel, and of how many: those whose outcome says something of them.

    Args:
        outcomes: number of children by outcome, as `tables.outcomes` returns it.
    """
    settled = sum(count for name, count in outcomes.items() if name not in UNSETTLED)
    return sum(outcomes[name] for name in VALID_NOVEL), settled


def evaluation_hours(run: Run, entries: Iterable[Entry]) -> float:
    """Return the wall hours of evaluations, summed over candidates and their rungs."""
    return sum(run.hours.get(entry.id, 0.0) for entry in entries)


def fitness(entry: Entry) -> float:
    """Return the fitness of a candidate that has one."""
    assert entry.result is not None
    assert entry.result.fitness is not None
    return entry.result.fitness


def fittest(run: Run, entries: Iterable[Entry]) -> Entry | None:
    """Return the fittest of those that count."""
    return max(filter(run.counts, entries), key=fitness, default=None)


def late_counts(run: Run) -> dict[str, int]:
    """Return how many candidates were late (`search.close_at`), and how many of them entered a later round's pool."""
    return {"late": len(run.late_until), "late_entered": sum(map(run.entered_late, run.entries))}


def round_rows(run: Run) -> Iterator[dict[str, Any]]:
    """Yield one row a round, the seeds' first."""
    grouped: dict[int, list[Entry]] = {}
    for entry in run.entries:
        grouped.setdefault(entry.candidate.round, []).append(entry)
    entered = Counter(run.late_until[entry.id] for entry in run.entries if run.entered_late(entry))
    best_so_far: float | None = None
    for round, entries in sorted(grouped.items()):
        row = {**_round_row(run, round, entries), "late_entered": entered[round]}
        known = [value for value in (best_so_far, row["best_fitness"]) if value is not None]
        best_so_far = max(known, default=None)
        yield {**row, "best_so_far": best_so_far}


def _round_row(run: Run, round: int, entries: Sequence[Entry]) -> dict[str, Any]:
    statuses = [entry.candidate.status for entry in entries]
    outcome = tables.outcomes({status: statuses.count(status) for status in set(statuses)})
    novel, settled = valid_novel(outcome)
    low, high = wilson(novel, settled)
    best = fittest(run, entries)
    return {
        **{"run": run.name, "round": round, "is_closed": round in run.closed_rounds, "children": len(entries)},
        **{name.replace(" ", "_"): count for name, count in outcome.items()},
        "late": sum(entry.id in run.late_until for entry in entries),
        "valid_novel": novel / settled if settled else None,
        **{"valid_novel_low": low, "valid_novel_high": high},
        "best": best.candidate.id if best else None,
        "best_fitness": fitness(best) if best else None,
        "evaluation_hours": evaluation_hours(run, entries),
    }
