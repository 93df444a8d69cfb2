"""Whether a database is the very one that the last driver left: then nothing in it needs to be looked at again.

A driver that ends notes beside its database the CRC-32 of that file, and of the snapshot that says the same. A file
that still has this CRC is as it was checked and left. Whatever has another one, or no note, is looked at page by page
and cell by cell, which takes twenty times as long; so a missing, torn or stale note costs time and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path

from evohpc.errors import StorageError
from evohpc.files import read_json, write_atomic
from evohpc.store import integrity


def checksum(database: Path) -> int:
    """Return the CRC-32 of a database.

    Raises:
        StorageError: it cannot be read now.
    """
    try:
        return integrity.checksum(database)
    except OSError as error:
        raise StorageError(f"cannot read {database}: {error.strerror or error}") from error


def note(database: Path, checksum: int, copy: int) -> None:
    """Note how a database, which was found to be sound, is left.

    Args:
        checksum: of the database.
        copy: checksum of the snapshot that says the same.

    Raises:
        StorageError: the file system refused.
    """
    write_atomic(path_of(database), json.dumps({"database": checksum, "snapshot": copy}) + "\n")


def noted_copy(database: Path) -> int | None:
    """Return the checksum of the snapshot that says what a database does, or None if it is not as it was left."""
    if any(database.with_name(f"{database.name}-{part}").exists() for part in ("journal", "wal")):
        return None  # SQLite will change the file before it reads it
    try:
        noted = read_json(path_of(database))
        is_as_left = noted["database"] == integrity.checksum(database)
        return int(noted["snapshot"]) if is_as_left else None
    except (OSError, ValueError, TypeError, LookupError, OverflowError):
        return None


def path_of(database: Path) -> Path:
    """Return where the note about a database is."""
    return database.with_name(f"{database.name}.left")
