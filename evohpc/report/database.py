"""The tables of `evohpc.load` as one SQLite database, for sqlite3, Datasette and whatever else reads such files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import fields
from pathlib import Path

from evohpc.files import write_atomic
from evohpc.report.frames import Tables

_INDEXES = {
    "curves": ("run, id",),
    "candidates": ("run, id", "run, fitness"),
    "results": ("run, id",),
    "lineage": ("run, child", "run, parent"),
}


def write_database(path: Path, tables: Tables) -> None:
    """Write a database with a table for each of these; a file that is there is replaced whole.

    Raises:
        StorageError: the file system refused.
    """
    with closing(sqlite3.connect(":memory:")) as database:
        for name in (field.name for field in fields(tables)):
            getattr(tables, name).to_sql(name, database, index=False)
            for place, columns in enumerate(_INDEXES.get(name, ())):
                database.execute(f"CREATE INDEX {name}_{place} ON {name} ({columns})")
        database.commit()
        write_atomic(path, database.serialize())
