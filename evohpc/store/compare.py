"""Compares two databases of one run, row by row; SQLite does, as 100,000 candidates are too many for Python."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from evohpc.messages import Status
from evohpc.store import integrity
from evohpc.store.store import TABLES, Store

LASTING = tuple(table for table in TABLES if table != "pool")
"""Tables whose rows stay. What is in the pool, the others say too."""

_OUTCOME = frozenset({"status", "detail", "attempt", "fitness"})
"""The columns of a candidate that change, once."""


class _Table:
    """A table that two attached databases have, as the parts of statements about both: `ours` and `theirs`."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        info = connection.execute(f"PRAGMA other.table_info({name})").fetchall()
        self.columns = [column for _, column, *_ in info]
        keys = [column for _, column, _, _, _, place in info if place]
        self.key = keys[0]
        on = " AND ".join(f"ours.{key} = theirs.{key}" for key in keys)
        self.theirs = f"other.{name} AS theirs LEFT JOIN main.{name} AS ours ON {on}"
        """Each row of theirs with ours of the same key; what is ours is NULL where there is none."""
        self.ours = f"main.{name} AS ours LEFT JOIN other.{name} AS theirs ON {on}"

    def differs(self, columns: Sequence[str]) -> str:
        """Return the condition that rows of the same key differ in one of these columns."""
        ours, theirs = (", ".join(f"{side}.{column}" for column in columns) for side in ("ours", "theirs"))
        return f"({ours}) IS NOT ({theirs})"


def equals(one: Store, other: Store) -> bool:
    """Say whether two databases have the same rows.

    Raises:
        RunFolderError: one of them is damaged.
    """
    with one.beside(other) as connection:
        return all(_is_same(connection, table) for table in TABLES)


def missing(store: Store, other: Store) -> dict[str, int]:
    """Return how many rows of another database have no counterpart in a store, by table, zeros left out.

    Raises:
        RunFolderError: one of them is damaged.
    """
    with store.beside(other) as connection:
        counts = {table: _lacking(connection, table) for table in _shared(connection, LASTING)}
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
    with store.beside(copy) as connection:
        for table in _shared(connection, TABLES):
            if (suspect := _contradiction(connection, table)) is not None:
                raise integrity.damaged(store.path, f"{table} {suspect!r} is not what {copy.path} says")
        counts = {table: count for table in _shared(connection, LASTING) if (count := _lacking(connection, table))}
        for table in counts:
            if _has_more(connection, table):
                raise integrity.damaged(store.path, f"some of the {table} of {copy.path} are not in it, but others are")
    return counts


def _shared(connection: sqlite3.Connection, names: Sequence[str]) -> list[str]:
    """Return which of these tables both databases have: an earlier evohpc did not write all of them."""
    return [name for name in names if len(_sides(connection, name)) == 2]


def _sides(connection: sqlite3.Connection, name: str) -> list[str]:
    """Return which of the two databases have a table."""
    there = "SELECT EXISTS (SELECT 1 FROM {}.sqlite_master WHERE type = 'table' AND name = ?)"
    return [side for side in ("main", "other") if connection.execute(there.format(side), [name]).fetchone()[0]]


def _is_same(connection: sqlite3.Connection, name: str) -> bool:
    if len(sides := _sides(connection, name)) < 2:
        return not any(connection.execute(f"SELECT EXISTS (SELECT 1 FROM {s}.{name})").fetchone()[0] for s in sides)
    table = _Table(connection, name)
    differing = f"SELECT EXISTS (SELECT 1 FROM {table.theirs} WHERE {table.differs(table.columns)})"
    return not connection.execute(differing).fetchone()[0] and not _has_more(connection, name)


def _contradiction(connection: sqlite3.Connection, name: str) -> object:
    """Return the key of our first row that is neither theirs nor what theirs may become: a pending candidate may have
    its outcome."""
    table = _Table(connection, name)
    condition = table.differs(table.columns)
    if name == "candidates":
        lasting = [column for column in table.columns if column not in _OUTCOME]
        condition += f" AND (theirs.status <> '{Status.PENDING}' OR {table.differs(lasting)})"
    found = f"SELECT min(ours.{table.key}) FROM {table.theirs} WHERE ours.{table.key} IS NOT NULL AND {condition}"
    return connection.execute(found).fetchone()[0]


def _lacking(connection: sqlite3.Connection, name: str) -> int:
    table = _Table(connection, name)
    count = f"SELECT count(*) FROM {table.theirs} WHERE ours.{table.key} IS NULL"
    return int(connection.execute(count).fetchone()[0])


def _has_more(connection: sqlite3.Connection, name: str) -> bool:
    table = _Table(connection, name)
    more = f"SELECT EXISTS (SELECT 1 FROM {table.ours} WHERE theirs.{table.key} IS NULL)"
    return bool(connection.execute(more).fetchone()[0])
