"""Which candidates a command is about, and in which order: classes of outcomes, and what to sort by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from evohpc.messages import Status

if TYPE_CHECKING:
    from evohpc.report.reader import Reading
    from evohpc.store.rows import Entry

STATUS_GROUPS = {
    "failed": (*(status for status in Status if status.is_candidate_fault), Status.TASK_ERROR),
    "refused": tuple(status for status in Status if status.is_refused and status is not Status.DUPLICATE),
    "machine_fault": tuple(status for status in Status if status.is_machine_fault),
}
"""The classes of outcomes that tables count and that have several statuses."""

SORT_KEYS = ("fitness", "error", "params", "seconds", "tokens")
"""What candidates can be sorted by: the fittest first, of all others the least."""


def in_groups(names: Iterable[str]) -> tuple[Status, ...]:
    """Return the statuses that these names of statuses or classes stand for."""
    found = [STATUS_GROUPS[name] if name in STATUS_GROUPS else (Status(name),) for name in names]
    return tuple(dict.fromkeys(status for group in found for status in group))


def choose(
    reading: Reading, round: int | None, statuses: Sequence[Status], best: int | None, *, is_late: bool
) -> Iterable[Entry]:
    """Return candidates, all or those of one round or of some statuses; seeds first, or so many of the fittest.

    Args:
        is_late: only those that had no outcome when their round closed.
    """
    late = reading.late_until if is_late else None
    if best is not None:
        return reading.best(best, round, statuses, late)
    return (entry for entry in reading.store.every(round, statuses) if late is None or entry.id in late)


def sort_entries(entries: Iterable[Entry], key: str | None, *, reverse: bool = False) -> list[Entry]:
    """Return candidates by one of `SORT_KEYS`, equals as they come; those without such a number are last, both ways.

    Args:
        key: None leaves them in their order.
    """
    entries = list(entries)
    if key is None:
        return entries[::-1] if reverse else entries
    known = [(value, entry) for entry in entries if (value := sort_value(entry, key)) is not None]
    known.sort(key=lambda pair: pair[0], reverse=reverse != (key == "fitness"))
    return [entry for _, entry in known] + [entry for entry in entries if sort_value(entry, key) is None]


def sort_value(entry: Entry, key: str) -> float | None:
    """Return what a candidate is sorted by, one of `SORT_KEYS`; None if it has no such number."""
    if key == "tokens":
        return entry.candidate.tokens or None
    result = entry.result
    if result is None:
        return None
    values = {"fitness": result.fitness, "error": result.error, "params": result.num_params}
    return result.seconds.get("total") if key == "seconds" else values[key]
