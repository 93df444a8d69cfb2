"""The database file of a search: its tables, how it is opened, and what its failures mean.

It has a rollback journal, never WAL, which "does not work over a network filesystem" (sqlite.org/wal.html).
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evohpc.errors import RunFolderError, StorageError, storage_error
from evohpc.store.light import Migrations, sqlite_utils

APPLICATION_ID = 0x45564F48  # "EVOH", shown by file(1)
LOCK_TIMEOUT_S = 60.0

migrations = Migrations("evohpc")


@migrations()  # type: ignore[untyped-decorator]
def m001_initial(db: sqlite_utils.Database) -> None:
    """The schema of evohpc 0.1."""
    for statement in _SCHEMA.split(";\n"):
        db.execute(statement)


_SCHEMA = """
CREATE TABLE fence (epoch INTEGER NOT NULL) STRICT;
INSERT INTO fence VALUES (0);
CREATE TABLE candidates (
  id TEXT PRIMARY KEY, round INTEGER NOT NULL, prompt INTEGER NOT NULL, sample INTEGER NOT NULL,
  parents TEXT NOT NULL, temperature REAL NOT NULL, tokens INTEGER NOT NULL, code_hash TEXT NOT NULL,
  status TEXT NOT NULL, detail TEXT NOT NULL, attempt INTEGER, fitness REAL, source TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX candidates_round ON candidates (round, status);
CREATE INDEX candidates_hash ON candidates (code_hash) WHERE code_hash <> '';
CREATE INDEX candidates_fitness ON candidates (fitness DESC, id) WHERE fitness IS NOT NULL;
CREATE TABLE results (
  candidate_id TEXT NOT NULL REFERENCES candidates (id), attempt INTEGER NOT NULL,
  status TEXT NOT NULL, detail TEXT NOT NULL, num_params INTEGER, error REAL, fitness REAL,
  metrics TEXT NOT NULL, seconds TEXT NOT NULL, isolation TEXT NOT NULL, host TEXT NOT NULL,
  source_sha256 TEXT NOT NULL, versions TEXT NOT NULL, finished_at TEXT NOT NULL,
  PRIMARY KEY (candidate_id, attempt)
) STRICT, WITHOUT ROWID;
CREATE TABLE pool (candidate_id TEXT PRIMARY KEY REFERENCES candidates (id), round INTEGER NOT NULL,
  fitness REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX pool_fitness ON pool (fitness DESC, candidate_id);
CREATE TABLE survivors (round INTEGER NOT NULL, rank INTEGER NOT NULL,
  candidate_id TEXT NOT NULL REFERENCES candidates (id), PRIMARY KEY (round, rank)) STRICT, WITHOUT ROWID;
CREATE TABLE closed_rounds (round INTEGER PRIMARY KEY) STRICT
"""


def open_writer(path: Path) -> sqlite_utils.Database:
    """Open the database for writing; create it, or bring its schema up to date.

    Raises:
        RunFolderError: the file is no search database, or one of a newer evohpc.
        StorageError: the file system refused.
    """
    with translated(path):
        db = _wrapped(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S))
        try:
            for pragma in ("journal_mode=DELETE", "synchronous=EXTRA", "foreign_keys=ON"):
                db.execute(f"PRAGMA {pragma}")
            _claim(db, path)
            migrations.apply(db)
        except BaseException:
            db.conn.close()
            raise
    return db


def open_reader(path: Path) -> sqlite_utils.Database:
    """Open a database that never changes (a snapshot) for reading, without locks.

    Raises:
        RunFolderError: there is none, or it is no search database.
    """
    if not path.is_file():
        raise RunFolderError(f"{path}: no such database")
    with translated(path):
        db = _wrapped(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True))
        try:
            _check(db, path)
        except BaseException:
            db.conn.close()
            raise
    return db


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into evohpc's."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # ours, not the file's
    except sqlite3.DatabaseError as error:
        raise _explained(path, error) from error


def _explained(path: Path, error: sqlite3.DatabaseError) -> StorageError | RunFolderError:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the primary result code
        case sqlite3.SQLITE_FULL:
            return storage_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StorageError(
                f"{path}: another program keeps it locked; nothing is lost: end that program (it may be a database "
                f"browser; snapshots/ holds a copy to look at), then run the same command again"
            )
        case sqlite3.SQLITE_IOERR:
            return storage_error(path, OSError(errno.EIO, str(error)))
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return storage_error(path, OSError(errno.EACCES, str(error)))
    return RunFolderError(f"{path}: {error}; `evohpc rebuild` makes it anew")


def _wrapped(connection: sqlite3.Connection) -> sqlite_utils.Database:
    connection.row_factory = sqlite3.Row
    return sqlite_utils.Database(connection, execute_plugins=False)


def _claim(db: sqlite_utils.Database, path: Path) -> None:
    """Mark an empty database as ours, before it has tables: a kill in between must not make a stranger of it."""
    is_empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if is_empty:
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    _check(db, path)


def _check(db: sqlite_utils.Database, path: Path) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise RunFolderError(f"{path} is the database of another program; move it away, then run `evohpc rebuild`")
    unknown = {applied.name for applied in migrations.applied(db)} - {m.name for m in migrations._migrations}
    if unknown:
        raise RunFolderError(f"{path} was written by a newer evohpc ({', '.join(sorted(unknown))}); use that one")
