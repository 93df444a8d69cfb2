"""Compares two databases of one run, row by row, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from evohpc.messages import Status
from evohpc.store import integrity
from evohpc.store.store import KEY_COLUMNS, TABLES, Store

LASTING = tuple(table for table in TABLES if table != "pool")
"""Tables whose rows stay. What is in the pool, the others say too."""

_STATUS_COLUMN = 8
"""Of a candidate: what comes before, and the source, which comes last, never changes."""

Row = tuple[Any, ...]


def equals(one: Store, other: Store) -> bool:
    """Say whether two databases have the same rows.

    Raises:
        RunFolderError: one of them is damaged.
    """
    rows = (pair for table in TABLES for pair in zip_longest(one.iterate(table), other.iterate(table)))
    return all(ours == theirs for ours, theirs in rows)


def missing(store: Store, other: Store) -> dict[str, int]:
    """Return how many rows of another database have no counterpart in a store, by table, zeros left out.

    Raises:
        RunFolderError: one of them is damaged.
    """
    counts = {table: sum(ours is None for ours, _ in _pairs(store, other, table)) for table in LASTING}
    return {table: count for table, count in counts.items() if count}


def check_against_copy(store: Store, copy: Store) -> dict[str, int]:
    """Check a live database, whose cells no checksum guards, against an earlier copy of it.

    What the copy says is final, but for the pool and the outcome of pending candidates. A database that has less than
    its copy is younger (it was deleted, and grows again from the files); one that has both less and more is another.

    Returns:
        How many rows of the copy it lacks, by table, zeros left out.

    Raises:
        RunFolderError: they differ where they may not, or the copy is damaged.
    """
    counts = {table: _check_table(store, copy, table) for table in TABLES}
    return {table: counts[table] for table in LASTING if counts[table]}


def _check_table(store: Store, copy: Store, table: str) -> int:
    less, has_more = 0, False
    for ours, theirs in _pairs(store, copy, table):
        less, has_more = less + (ours is None), has_more or theirs is None
        if ours is not None and theirs is not None and ours != theirs and not _is_later(table, ours, theirs):
            raise integrity.damaged(store.path, f"{table} {ours[0]!r} is not what {copy.path} says")
    if table in LASTING and less and has_more:
        raise integrity.damaged(store.path, f"some of the {table} of {copy.path} are not in it, but others are")
    return less


def _pairs(store: Store, other: Store, table: str) -> Iterator[tuple[Row | None, Row | None]]:
    """Yield (row, row of the other) for each key that either has, None for a row that is missing."""
    keys, ours, theirs = KEY_COLUMNS[table], store.iterate(table), other.iterate(table)
    one, two = next(ours, None), next(theirs, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one[:keys] < two[:keys]):
            yield one, None
            one = next(ours, None)
        elif one is None or two[:keys] < one[:keys]:
            yield None, two
            two = next(theirs, None)
        else:
            yield one, two
            one, two = next(ours, None), next(theirs, None)


def _is_later(table: str, ours: Row, theirs: Row) -> bool:
    """Say whether a row is what an earlier one may become: a pending candidate that has its outcome now."""
    at = _STATUS_COLUMN
    is_same = ours[:at] == theirs[:at] and ours[-1] == theirs[-1]
    return table == "candidates" and theirs[at] == Status.PENDING and is_same
