"""The ledger of a search: one SQLite file (schema.py), one writer. The only SQL in the project.

The store stores: it takes and returns rows and decides nothing. Result files are the truth; everything here can be
rebuilt from the run folder. Every write is one IMMEDIATE transaction that first checks the driver's epoch.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evohpc.errors import LeaseError, storage_error
from evohpc.files import make_folder, sync_folder
from evohpc.messages import Candidate, Result, Status
from evohpc.store import integrity, schema
from evohpc.store.rows import JSON_COLUMNS, SELECT_ENTRIES, SELECT_KIN, Entry, Kin, Score, as_entry, as_kin, as_result

TABLES = ("candidates", "results", "pool", "survivors", "closed_rounds")
"""What `evohpc rebuild` re-creates row for row."""

KEY_COLUMNS = {"candidates": 1, "results": 2, "pool": 1, "survivors": 2, "closed_rounds": 1}
"""How many columns make the key of each table; they come first."""


class Store:
    """The search database. Rows in, rows out."""

    def __init__(self, path: Path, *, epoch: int) -> None:
        """Open for writing, as the driver of that epoch; create or migrate the schema.

        Raises:
            LeaseError: a driver with a later epoch has taken over.
            RunFolderError: the file is no search database.
            StorageError: the file system refused.
        """
        self._path, self._epoch = path, epoch
        self._db = schema.open_writer(path)
        try:
            with schema.translated(path), self._db.atomic():
                self._db.execute("UPDATE fence SET epoch = ? WHERE epoch < ?", [epoch, epoch])
            with self.write():
                pass
        except BaseException:
            self.close()
            raise

    @staticmethod
    def last_epoch(path: Path) -> int:
        """Return the epoch of the last driver that opened a database; 0 where there is none, or it cannot be read."""
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
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
        store._path, store._epoch = path, -1
        store._db = schema.open_reader(path)
        return store

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def close(self) -> None:
        """Close the file."""
        self._db.conn.close()

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

    def close_round(self, round: int, survivors: Sequence[str], leaving: Sequence[str]) -> None:
        """Record the survivors of a round in rank order, take those that leave out of the pool, mark it closed."""
        with self.write():
            self._db.conn.executemany(
                "INSERT OR IGNORE INTO survivors VALUES (?, ?, ?)",
                [(round, rank, candidate_id) for rank, candidate_id in enumerate(survivors)],
            )
            self._db.conn.executemany("DELETE FROM pool WHERE candidate_id = ?", [(name,) for name in leaving])
            self._db.execute("INSERT OR IGNORE INTO closed_rounds VALUES (?)", [round])

    def is_closed(self, round: int) -> bool:
        """Say whether a round is closed."""
        return bool(self._value("SELECT count(*) FROM closed_rounds WHERE round = ?", round))

    def entries(self, round: int, status: Status | None = None) -> list[Entry]:
        """Return the candidates of a round in order of id, all or of one status."""
        where = "round = ?" if status is None else "round = ? AND c.status = ?"
        return self._entries(f"WHERE {where} ORDER BY id", round, *([] if status is None else [status]))

    def pending(self, round: int) -> list[str]:
        """Return the ids of the candidates of a round that have no final result."""
        sql = "SELECT id FROM candidates WHERE round = ? AND status = 'pending' ORDER BY id"
        return [row[0] for row in self._db.execute(sql, [round])]

    def entry(self, candidate_id: str) -> Entry | None:
        """Return one candidate."""
        return next(iter(self._entries("WHERE id = ?", candidate_id)), None)

    def with_ids(self, ids: Iterable[str]) -> list[Entry]:
        """Return candidates in the order of these ids."""
        return [entry for entry in map(self.entry, list(ids)) if entry is not None]

    def every(self) -> Iterator[Entry]:
        """Yield all candidates, seeds first, in order of round and id."""
        return map(as_entry, self._db.execute(f"{SELECT_ENTRIES} ORDER BY round, id"))

    def kin(self) -> Iterator[Kin]:
        """Yield the descent of all candidates, seeds first, in order of round and id."""
        return map(as_kin, self._db.execute(f"{SELECT_KIN} ORDER BY round, id"))

    def scores(self) -> Iterator[Score]:
        """Yield the scores of all trained candidates, seeds included, the fittest first."""
        sql = (
            "SELECT c.id, r.error, c.fitness FROM candidates c JOIN results r ON r.candidate_id = c.id "
            "AND r.attempt = c.attempt WHERE c.fitness IS NOT NULL ORDER BY c.fitness DESC, c.id"
        )
        return map(Score._make, self._db.execute(sql))

    def survivors(self, round: int) -> list[Entry]:
        """Return the survivors of a round in rank order: the parents of the next."""
        return self._entries("JOIN survivors s ON s.candidate_id = id WHERE s.round = ? ORDER BY s.rank", round)

    def pool(self, round: int | None = None) -> Iterator[str]:
        """Yield the ids in the pool, of all rounds or what one added to it, the fittest first, equals by id."""
        where, values = ("", []) if round is None else ("WHERE round = ?", [round])
        sql = f"SELECT candidate_id FROM pool {where} ORDER BY fitness DESC, candidate_id"
        return (row[0] for row in self._db.execute(sql, values))

    def known_hashes(self, hashes: Sequence[str]) -> dict[str, str]:
        """Return, of these code hashes, those that are there, with the id of the first candidate that has it."""
        found: dict[str, str] = {}
        for code_hash in dict.fromkeys(hashes):
            sql = "SELECT min(id) FROM candidates WHERE code_hash = ? AND code_hash <> '' AND status <> 'duplicate'"
            if first := self._value(sql, code_hash):
                found[code_hash] = str(first)
        return found

    def attempts(self, round: int) -> dict[str, list[Result]]:
        """Return all results of the pending candidates of a round, by candidate, in order of attempt."""
        sql = (
            "SELECT r.* FROM results r JOIN candidates c ON c.id = r.candidate_id "
            "WHERE c.round = ? AND c.status = 'pending' ORDER BY candidate_id, r.attempt"
        )
        found: dict[str, list[Result]] = {}
        for row in self._db.execute(sql, [round]):
            found.setdefault(row["candidate_id"], []).append(as_result(dict(row)))
        return found

    def results(self, candidate_id: str) -> list[Result]:
        """Return all attempts at one candidate."""
        sql = "SELECT * FROM results WHERE candidate_id = ? ORDER BY attempt"
        return [as_result(dict(row)) for row in self._db.execute(sql, [candidate_id])]

    def every_result(self) -> Iterator[Result]:
        """Yield all attempts at all candidates, in order of candidate and attempt."""
        rows = self._db.execute("SELECT * FROM results ORDER BY candidate_id, attempt")
        return (as_result(dict(row)) for row in rows)

    def evaluation_seconds(self) -> tuple[float, int]:
        """Return the wall seconds of all evaluations, and the number of those that have a time."""
        sql = "SELECT total(t), count(t) FROM (SELECT json_extract(seconds, '$.total') AS t FROM results)"
        seconds, count = self._db.execute(sql).fetchone()
        return seconds, count

    def counts(self, round: int | None = None) -> Mapping[Status, int]:
        """Return how many candidates have each status, of one round or of all children (seeds left out)."""
        where, value = ("round >= ?", 0) if round is None else ("round = ?", round)
        sql = f"SELECT status, count(*) FROM candidates WHERE {where} GROUP BY status"
        return {Status(status): count for status, count in self._db.execute(sql, [value])}

    def last_round(self) -> int | None:
        """Return the highest round that has candidates, or None."""
        return self._value("SELECT max(round) FROM candidates")  # type: ignore[no-any-return]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table of `TABLES` as it is, by the names of its columns, in key order."""
        found = sorted(self._db.execute(f"SELECT * FROM {table}"), key=lambda row: tuple(row)[:2])
        return [dict(row) for row in found]

    def iterate(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a table of `TABLES` as they are, in key order, one at a time."""
        order = ", ".join(map(str, range(1, KEY_COLUMNS[table] + 1)))
        with schema.translated(self._path):
            yield from map(tuple, self._db.execute(f"SELECT * FROM {table} ORDER BY {order}"))

    def snapshot(self, target: Path) -> None:
        """Write a verified copy that readers can open while this database is written to.

        Raises:
            StorageError: the file system refused.
        """
        aside = target.with_name(f".tmp-{target.name}")
        try:
            make_folder(target.parent)
            aside.unlink(missing_ok=True)
            with schema.translated(target):
                self._db.execute("VACUUM INTO ?", [str(aside)])
            with schema.translated(aside), closing(sqlite3.connect(aside)) as connection:
                integrity.check_pages(connection, self._path)
            integrity.seal(aside)
            aside.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            raise storage_error(target, error) from error

    def _add(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        # Not by sqlite-utils' insert_all(), which looks up what it ignored by rowid; these tables have none.
        if rows:
            columns, values = ", ".join(rows[0]), ", ".join(f":{name}" for name in rows[0])
            sql = f"INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING"
            with self.write():
                self._db.conn.executemany(sql, rows)

    def _entries(self, clause: str, *values: object) -> list[Entry]:
        return [as_entry(row) for row in self._db.execute(f"{SELECT_ENTRIES} {clause}", list(values))]

    def _value(self, sql: str, *values: object) -> Any:
        return self._db.execute(sql, list(values)).fetchone()[0]
