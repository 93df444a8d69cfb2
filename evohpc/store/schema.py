"""The database file of a search: its tables, how it is opened, and what its failures mean.

It has a rollback journal, never WAL, which "does not work over a network filesystem" (sqlite.org/wal.html).
"""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from evohpc.errors import RunFolderError, StorageError, storage_error
from evohpc.store import integrity
from evohpc.store.backup import back_up
from evohpc.store.light import Migrations, sqlite_utils

APPLICATION_ID = 0x45564F48  # "EVOH", shown by file(1)
LOCK_TIMEOUT_S = 60.0

migrations = Migrations("evohpc")


@migrations()  # type: ignore[untyped-decorator]
def m001_initial(db: sqlite_utils.Database) -> None:
    """The schema of evohpc 0.1."""
    for statement in SCHEMA.split(";\n"):
        db.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def m002_late_candidates(db: sqlite_utils.Database) -> None:
    """Who had no outcome when a round closed (`search.close_at`)."""
    db.execute(
        "CREATE TABLE late_candidates (round INTEGER NOT NULL, candidate_id TEXT NOT NULL "
        "REFERENCES candidates (id), PRIMARY KEY (round, candidate_id)) STRICT, WITHOUT ROWID"
    )


SCHEMA = """
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


def uri(path: Path, mode: str) -> str:
    """Return what SQLite calls a file: "ro", "rw", or "rwc" to create it."""
    return f"{path.absolute().as_uri()}?mode={mode}"


def open_writer(path: Path, *, is_as_left: bool = False) -> sqlite_utils.Database:
    """Open the database for writing; create it, or bring its schema up to date, once a copy of it is kept (backup.py).

    Args:
        is_as_left: it is the file that was checked when a driver left it (left.py).

    Raises:
        RunFolderError: the file is no search database, or one of a newer evohpc.
        StorageError: the file system refused.
    """
    with translated(path):
        db = _wrapped(sqlite3.connect(uri(path, "rwc"), uri=True, timeout=LOCK_TIMEOUT_S))
        try:
            if is_new := db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                # Before it has tables: a kill in between must not make a stranger of it.
                db.execute(f"PRAGMA application_id={APPLICATION_ID}")
            _check_owner(db, path)
            for pragma in ("journal_mode=DELETE", "synchronous=EXTRA", "foreign_keys=ON"):
                db.execute(f"PRAGMA {pragma}")
            if not is_new and (not is_as_left or migrations.pending(db)):
                _check_content(db, path)
            if db.execute("PRAGMA user_version").fetchone()[0]:
                db.execute("PRAGMA user_version=0")  # a copy that was put in its place has a checksum, and now changes
            if migrations.pending(db) and (applied := migrations.applied(db)):
                back_up(db.conn, path, applied[-1].name)
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
        db = _wrapped(sqlite3.connect(uri(path, "ro&immutable=1"), uri=True))
        try:
            _check_owner(db, path)
            _check_content(db, path)
        except BaseException:
            db.conn.close()
            raise
    return db


def check_owner(path: Path) -> None:
    """Check that a database, if there is one that can be read, is a search's and of no newer evohpc.

    Raises:
        RunFolderError: it is not.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    with (
        suppress(sqlite3.DatabaseError),
        closing(sqlite3.connect(uri(path, "ro"), uri=True)) as c,
    ):
        _check_owner(_wrapped(c), path)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into evohpc's."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # ours, not the file's
    except UnicodeDecodeError as error:  # Python cannot even read what SQLite says of a damaged name
        raise integrity.damaged(path, "a text in it is not UTF-8") from error
    except sqlite3.DatabaseError as error:
        raise explained(path, error) from error


_NO_LOCKS = {
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_UNLOCK,
    sqlite3.SQLITE_PROTOCOL,
}


def explained(path: Path, error: sqlite3.DatabaseError) -> StorageError | RunFolderError:
    """Return what a user is told of an error of SQLite's."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _NO_LOCKS:
        how = f"`evohpc doctor fs {shlex.quote(str(path.parent))}` tries it"
        return StorageError(
            f"{path}: its file system does not lock files ({error}); nothing is lost: {how}; ask the site for locks "
            "(on Lustre the mount option flock), or move the run"
        )
    match code & 0xFF:  # the primary result code
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


def _check_owner(db: sqlite_utils.Database, path: Path) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise RunFolderError(f"{path} is the database of another program; move it away, then run `evohpc rebuild`")
    try:
        applied = {migration.name for migration in migrations.applied(db)}
    except KeyError as error:  # a column that sqlite-utils asks for by name
        raise integrity.damaged(path, f"the list of migrations has no column {error}") from None
    if unknown := applied - {migration.name for migration in migrations._migrations}:
        raise RunFolderError(f"{path} was written by a newer evohpc ({', '.join(sorted(unknown))}); use that one")


def _check_content(db: sqlite_utils.Database, path: Path) -> None:
    """Check what was written earlier: by its checksum, or where it has none, by all other means."""
    if integrity.check_seal(path):
        return
    integrity.check_pages(db.conn, path)
    if not migrations.pending(db):
        integrity.check_schema(db.conn, _tables(), path)
        integrity.check_cells(db.conn, path)


def _tables() -> list[integrity.Row]:
    """Return the tables and indexes that a database has once all migrations are applied."""
    with closing(sqlite3.connect(":memory:")) as connection:
        migrations.apply(_wrapped(connection))
        return integrity.schema_of(connection)
