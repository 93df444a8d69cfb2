"""What people must know beside an outcome: that a candidate was late, and that one that was trained does not count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from evohpc.store.rows import Entry


def not_counted(entry: Entry, error_below: float) -> str:
    """Return why a candidate that was trained is not among the best, however fit; '' if it may be."""
    result = entry.result
    if result is None or result.fitness is None or result.error is None or result.error < error_below:
        return ""
    return f"not counted: its error {result.error:.4g} is not below {error_below:g} (search.error_threshold)"


def remarked(entry: Entry, error_below: float, late: Mapping[str, int]) -> Entry:
    """Return a candidate whose reason says that, too, and if it was late which round is the first that could know its
    outcome.

    Args:
        error_below: alpha of Algorithm 3.
        late: `lateness.late_until`.
    """
    lateness = f"late: not known before round {late[entry.id]} closed" if entry.id in late else ""
    said = [entry.candidate.detail, lateness, not_counted(entry, error_below)]
    return replace(entry, candidate=replace(entry.candidate, detail="; ".join(filter(None, said))))
