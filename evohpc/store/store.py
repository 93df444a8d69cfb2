"""The ledger of a search: one SQLite file (schema.py), one writer. This room has the only SQL in the project.

The store stores: it takes and returns rows and decides nothing. Result files are the truth; everything here can be
rebuilt from the run folder. Every write is one IMMEDIATE transaction that first checks the driver's epoch.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evohpc.errors import LeaseError, RunFolderError, StorageError, storage_error
from evohpc.files import aside_of, make_folder, strays_of, sync_folder
from evohpc.messages import Candidate, Result
from evohpc.store import integrity, left, schema, views
from evohpc.store.queries import TABLES, Queries
from evohpc.store.rows import JSON_COLUMNS

__all__ = ["TABLES", "Store"]


class Store(Queries):
    """The search database. Rows in, rows out."""

    def __init__(self, path: Path, *, epoch: int) -> None:
        """Open for writing, as the driver of that epoch; create or migrate the schema.

        Raises:
            LeaseError: a driver with a later epoch has taken over.
            RunFolderError: the file is no search database.
            StorageError: the file system refused.
        """
        self._path, self._epoch, self._uri = path, epoch, schema.uri(path, "ro")
        copy = left.noted_copy(path)
        self._db = schema.open_writer(path, is_as_left=copy is not None)
        is_as_left = not self._db.conn.total_changes  # a migration counts as one
        try:
            with schema.translated(path), self._db.atomic():
                self._db.execute("UPDATE fence SET epoch = ? WHERE epoch < ?", [epoch, epoch])
            with self.write():
                pass
            self._copied = (self._db.conn.total_changes, copy) if copy and is_as_left else None
        except BaseException:
            self.close()
            raise

    @staticmethod
    def last_epoch(path: Path) -> int:
        """Return the epoch of the last driver that opened a database; 0 where there is none, or it cannot be read."""
        try:
            with closing(sqlite3.connect(schema.uri(path, "ro"), uri=True)) as connection:
                return int(connection.execute("SELECT coalesce(max(epoch), 0) FROM fence").fetchone()[0])
        except (sqlite3.Error, UnicodeDecodeError):  # opening it to write will say what is wrong
            return 0

    @classmethod
    def snapshot_reader(cls, path: Path) -> Store:
        """Open a snapshot, which never changes, for reading without locks.

        Raises:
            RunFolderError: there is none, or it is no search database.
        """
        store = cls.__new__(cls)
        store._path, store._epoch, store._uri = path, -1, schema.uri(path, "ro&immutable=1")
        store._db, store._copied = schema.open_reader(path), None
        return store

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def close(self) -> None:
        """Close the file."""
        self._db.conn.close()

    def leave(self, snapshot: Path) -> None:
        """Close the file; if a snapshot says all of it, note how both are left, so that the next driver opens it fast.

        Raises:
            LeaseError: this driver was replaced; nothing was noted.
            StorageError: the file system refused.
        """
        noted: tuple[int, int] | None = None
        if self._copied is not None and self.is_told_by(snapshot):
            noted = left.checksum(self._path), self._copied[1]
            self._check_epoch()  # its successor may have changed the file before it was read
        self.close()
        if noted is not None:
            left.note(self._path, *noted)

    def is_told_by(self, snapshot: Path) -> bool:
        """Say whether a snapshot is sound and known to say what this database does, the epoch aside."""
        if self._copied is None or not snapshot.exists():
            return False
        with suppress(RunFolderError, StorageError):
            return self._copied == (self._db.conn.total_changes, integrity.check_seal(snapshot))
        return False

    @contextmanager
    def beside(self, other: Store) -> Iterator[sqlite3.Connection]:
        """Attach another database as `other`, for statements about both."""
        with schema.translated(self._path):
            self._db.execute("ATTACH ? AS other", [other._uri])
            try:
                yield self._db.conn
            finally:
                self._db.execute("DETACH other")

    @contextmanager
    def write(self) -> Iterator[None]:
        """One transaction; verbs called inside it commit together.

        Raises:
            LeaseError: this driver was replaced; nothing was written.
            StorageError: the file system refused; nothing was written.
        """
        if self._db.conn.in_transaction:
            yield
            return
        with schema.translated(self._path):
            # sqlite-utils' atomic() begins DEFERRED: a later lock upgrade would fail without waiting.
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if self._db.execute("SELECT epoch FROM fence").fetchone()[0] != self._epoch:
                    raise LeaseError(f"{self._path}: another driver has taken over this run; this one stops")
                yield
                self._db.conn.commit()
            except BaseException:
                self._db.conn.rollback()
                raise

    def add_candidates(self, candidates: Sequence[Candidate]) -> None:
        """Insert candidates; one whose id is there already is left as it is."""
        self._add("candidates", [{**asdict(c), "parents": json.dumps(c.parents)} for c in candidates])

    def add_results(self, results: Sequence[Result]) -> None:
        """Insert results; of two for the same attempt the first one counts."""
        documents = [{name: json.dumps(getattr(r, name), sort_keys=True) for name in JSON_COLUMNS} for r in results]
        self._add("results", [{**asdict(r), **d} for r, d in zip(results, documents, strict=True)])

    def conclude(self, results: Sequence[Result]) -> None:
        """Let these results, which are in the table, count as the outcome of their candidates, once and for ever."""
        with self.write():
            self._db.conn.executemany(
                "UPDATE candidates SET status = ?, detail = ?, attempt = ?, fitness = ? "
                "WHERE id = ? AND status = 'pending'",
                [(r.status, r.detail, r.attempt, r.fitness, r.candidate_id) for r in results],
            )

    def add_to_pool(self, round: int, results: Sequence[Result]) -> None:
        """Append candidates of a round to the pool (G of Algorithm 1), with the fitness of their results."""
        rows = [(r.candidate_id, round, r.fitness) for r in results]
        with self.write():
            self._db.conn.executemany("INSERT OR IGNORE INTO pool VALUES (?, ?, ?)", rows)

    def close_round(
        self, round: int, survivors: Sequence[str], leaving: Sequence[str], late: Sequence[str] = ()
    ) -> None:
        """Record the survivors of a round in rank order and who is late, take those that leave out of the pool, mark
        it closed."""
        with self.write():
            self._db.conn.executemany(
                "INSERT OR IGNORE INTO late_candidates VALUES (?, ?)", [(round, name) for name in late]
            )
            self._db.conn.executemany(
                "INSERT OR IGNORE INTO survivors VALUES (?, ?, ?)",
                [(round, rank, candidate_id) for rank, candidate_id in enumerate(survivors)],
            )
            self._db.conn.executemany("DELETE FROM pool WHERE candidate_id = ?", [(name,) for name in leaving])
            self._db.execute("INSERT OR IGNORE INTO closed_rounds VALUES (?)", [round])

    def snapshot(self, target: Path) -> None:
        """Write a verified copy that readers can open while this database is written to, unless it is there.

        Raises:
            LeaseError: this driver was replaced: its copy must not take the place of its successor's.
            StorageError: the file system refused.
        """
        self._check_epoch()
        if self.is_told_by(target):
            return
        aside = aside_of(target)
        try:
            make_folder(target.parent)
            for stray in strays_of(target):
                stray.unlink(missing_ok=True)
            try:
                copied = self._copy(aside, target)
                self._check_epoch()  # again: a copy takes long, and this driver may have stood still in it
                aside.replace(target)
            finally:
                aside.unlink(missing_ok=True)
            sync_folder(target.parent)
            self._copied = copied
        except OSError as error:
            self._check_epoch()  # a successor tidies up what this driver was writing
            raise storage_error(target, error) from error

    def _copy(self, aside: Path, target: Path) -> tuple[int, int]:
        """Write a verified copy; return which changes it has, and its checksum."""
        with schema.translated(target):
            self._db.execute("VACUUM INTO ?", [str(aside)])
        with schema.translated(aside), closing(sqlite3.connect(aside)) as connection:
            connection.execute("PRAGMA synchronous=OFF")  # seal() syncs all of it
            views.make(connection)
            integrity.check_pages(connection, self._path)
        return self._db.conn.total_changes, integrity.seal(aside)

    def _check_epoch(self) -> None:
        """See whether this driver is the one.

        Raises:
            LeaseError: it was replaced.
        """
        with self.write():
            pass

    def _add(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        # Not by sqlite-utils' insert_all(), which looks up what it ignored by rowid; these tables have none.
        if rows:
            columns, values = ", ".join(rows[0]), ", ".join(f":{name}" for name in rows[0])
            sql = f"INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING"
            with self.write():
                self._db.conn.executemany(sql, rows)
