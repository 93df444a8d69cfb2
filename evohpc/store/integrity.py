"""Whether a database is what was written: its structure, its tables, and every byte of a copy that never changes.

SQLite has no checksum of its own: a flipped bit inside a cell is another text or number to it. A finished copy (a
snapshot) therefore carries the CRC-32 of itself, in the four bytes of the header that SQLite leaves to its users
(user_version, https://sqlite.org/fileformat2.html#user_version_number), which count as zeros. The live database
changes in place and cannot; its checksum is noted while no driver has it (left.py), and where that is not so, the store
compares it with the copy (compare.py).
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path

from evohpc.errors import RunFolderError, StorageError
from evohpc.messages import Isolation, Status

_FIELD = 60
"""Where user_version lies in the file."""
_BLOCK = 1 << 20

_SUSPECTS = (
    """SELECT c.id FROM candidates c LEFT JOIN results r ON r.candidate_id = c.id AND r.attempt = c.attempt
    WHERE c.attempt IS NOT NULL AND (c.status, c.detail, c.fitness) IS NOT (r.status, r.detail, r.fitness)""",
    """SELECT p.candidate_id FROM pool p JOIN candidates c ON c.id = p.candidate_id
    WHERE (p.round, p.fitness) IS NOT (c.round, c.fitness)""",
    """SELECT id FROM candidates WHERE NOT json_valid(parents)
    OR status NOT IN (SELECT value FROM json_each(:statuses))""",
    """SELECT candidate_id FROM results WHERE NOT (json_valid(metrics) AND json_valid(seconds) AND json_valid(versions))
    OR status NOT IN (SELECT value FROM json_each(:statuses))
    OR isolation NOT IN (SELECT value FROM json_each(:isolations))""",
)
"""Each finds rows that no evohpc writes."""

Row = tuple[object, ...]


def seal(path: Path) -> int:
    """Write the checksum of a finished copy into it, and sync it; return it.

    Raises:
        OSError: the file system refused.
    """
    with open(path, "r+b") as file:
        sealed = checksum(path)
        file.seek(_FIELD)
        file.write(sealed.to_bytes(4, "big"))
        file.flush()
        os.fsync(file.fileno())
    return sealed


def check_seal(path: Path) -> int:
    """Check a file against the checksum in it; return that, 0 where it has none: evohpc 0.1.0 made it, or it is live.

    Raises:
        RunFolderError: they differ.
        StorageError: the file cannot be read now.
    """
    try:
        with open(path, "rb") as file:
            file.seek(_FIELD)
            written = int.from_bytes(file.read(4), "big")
        is_right = not written or written == checksum(path)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}; try again when it can be read") from error
    if not is_right:
        raise damaged(path, "its checksum does not match")
    return written


def check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Have SQLite look at each page, index and reference.

    Raises:
        RunFolderError: something is not as it must be.
        sqlite3.DatabaseError: it cannot even be looked at.
    """
    verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        raise damaged(path, f"SQLite's check says: {' '.join(verdict.split())}")
    if broken := connection.execute("PRAGMA foreign_key_check").fetchone():
        raise damaged(path, f"a row of {broken[0]} names a candidate that is not there")


def check_cells(connection: sqlite3.Connection, path: Path) -> None:
    """Check, where no checksum says it, that each cell can be read, and that two that say the same say the same.

    Raises:
        RunFolderError: something is not as it must be.
        sqlite3.DatabaseError: a text is not UTF-8.
    """
    statuses, isolations = (json.dumps(list(kind)) for kind in (Status, Isolation))
    for statement in _SUSPECTS:
        values = {"statuses": statuses, "isolations": isolations}
        if suspect := connection.execute(statement, values).fetchone():
            raise damaged(path, f"what it says of {suspect[0]!r} cannot be true")
    for table in ("candidates", "results"):
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        texts = ", ".join(name for _, name, kind, *_ in columns if kind == "TEXT")
        for _ in connection.execute(f"SELECT {texts} FROM {table}"):
            pass


def check_schema(connection: sqlite3.Connection, expected: Sequence[Row], path: Path) -> None:
    """Check that a database has exactly these tables and indexes.

    Raises:
        RunFolderError: it has others.
    """
    if schema_of(connection) != list(expected):
        raise damaged(path, "its tables are not those of a search")


def schema_of(connection: sqlite3.Connection) -> list[Row]:
    """Return (name, statement) of each table and index of ours, in order of name; views are for people only."""
    ours = "type <> 'view' AND name NOT LIKE '%sqlite\\_%' ESCAPE '\\'"
    sql = f"SELECT name, sql FROM sqlite_master WHERE {ours} ORDER BY name"
    return [tuple(row) for row in connection.execute(sql)]


def damaged(path: Path, how: str) -> RunFolderError:
    """Return the sentence for a database that cannot be trusted."""
    return RunFolderError(f"{path}: damaged: {how}; `evohpc rebuild` makes it anew from the run's files")


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file as if it had none in it, never 0.

    Raises:
        OSError: the file system refused.
    """
    with open(path, "rb") as file:
        head = bytearray(file.read(_BLOCK))
        head[_FIELD : _FIELD + 4] = bytes(4)
        found = zlib.crc32(head)
        while block := file.read(_BLOCK):
            found = zlib.crc32(block, found)
    return found or 1
