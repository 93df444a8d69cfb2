"""A database of an older schema is copied beside itself before it is migrated: the older evohpc can go on with it.

The copy has no checksum of its own (integrity.py): evohpc 0.1.0 knows of none, and would write and leave it wrong.
"""

from __future__ import annotations

import filecmp
import logging
import os
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

from evohpc.errors import storage_error
from evohpc.files import aside_of, link_once, strays_of, sync_folder
from evohpc.store import integrity

log = logging.getLogger(__name__)


def back_up(connection: sqlite3.Connection, path: Path, schema: str) -> Path:
    """Copy a database whole, by SQLite's backup API, to `<path>.<schema>.kept-<n>`; return where it is.

    No earlier copy is written over. One that has the same bytes, of a migration that was cut short, is left to stand
    for this one.

    Args:
        connection: to the database, outside of any transaction.
        schema: the last migration that it has, e.g. "m001_initial".

    Raises:
        RunFolderError: the copy is not sound.
        StorageError: the file system refused.
        sqlite3.DatabaseError: SQLite cannot read the database, or not write the copy.
    """
    name = f"{path.name}.{schema}"
    aside = aside_of(path.with_name(name))
    try:
        try:
            _copy(connection, aside)
            kept = _named(aside, path.with_name(name))
        finally:
            aside.unlink(missing_ok=True)
        for stray in strays_of(path.with_name(name)):
            stray.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(aside, error) from error
    log.warning("%s, of schema %s, is kept as %s; now it is brought up to date", path, schema, kept.name)
    return kept


def _copy(connection: sqlite3.Connection, aside: Path) -> None:
    with closing(sqlite3.connect(aside)) as copy:
        connection.backup(copy)
        integrity.check_pages(copy, aside)
    with open(aside, "r+b") as file:
        os.fsync(file.fileno())


def _named(aside: Path, name: Path) -> Path:
    """Give a copy the first number that is free, unless an earlier one has the same bytes; return its path."""
    numbered = (name.with_name(f"{name.name}.kept-{n}") for n in count(1))
    return next(path for path in numbered if link_once(aside, path) or filecmp.cmp(aside, path, shallow=False))
