"""Nothing overwrites the only copy of anything: what a database or snapshot is replaced by may hold less than it."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import closing
from itertools import count
from pathlib import Path

from evohpc.errors import RunFolderError, storage_error
from evohpc.files import sync_folder
from evohpc.store import compare
from evohpc.store.store import Store

log = logging.getLogger(__name__)

_PARTS = ("", "-journal", "-wal")
"""A database and what SQLite has beside it."""


def keep(database: Path) -> Path:
    """Copy a database beside itself, under a name that no earlier copy has; return it.

    Raises:
        StorageError: the file system refused.
    """
    target = next(path for n in count(1) if not (path := database.with_name(f"{database.name}.kept-{n}")).exists())
    try:
        for part in _PARTS:
            source = database.with_name(database.name + part)
            if source.exists():
                _copy(source, target.with_name(target.name + part))
        sync_folder(target.parent)
    except OSError as error:
        raise storage_error(target, error) from error
    return target


def check_against_snapshot(store: Store, snapshot: Path) -> None:
    """Check the live database against its snapshot, unless it is as it was left; keep one that holds more than it.

    Raises:
        RunFolderError: the database contradicts its snapshot: it is damaged.
        StorageError: the file system refused.
    """
    if store.is_told_by(snapshot):
        return
    try:
        copy = Store.snapshot_reader(snapshot)
    except RunFolderError:  # there is none yet, or it is damaged: the driver makes it anew
        return
    with closing(copy):
        lacks = compare.check_against_copy(store, copy)
    if lacks and not _is_kept(snapshot):
        kept = keep(snapshot)
        log.warning("%s lacks %s of its snapshot, which is kept as %s", store.path, in_words(lacks), kept)


def in_words(rows: Mapping[str, int]) -> str:
    """Return numbers of rows for people: '24 candidates, 20 results'."""
    return ", ".join(f"{count} {table.replace('_', ' ')}" for table, count in rows.items())


def _is_kept(snapshot: Path) -> bool:
    content = snapshot.read_bytes()
    return any(path.read_bytes() == content for path in snapshot.parent.glob(f"{snapshot.name}.kept-*"))


def _copy(source: Path, target: Path) -> None:
    with open(source, "rb") as original, open(target, "xb") as copy:
        shutil.copyfileobj(original, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())
