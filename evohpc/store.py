"""The ledger of a search: one SQLite file, one writer. The only SQL in the project.

The store stores: it takes and returns rows and decides nothing. Result files are the truth; everything here can be
rebuilt from the run folder. It is opened with a rollback journal, never WAL (which "does not work over a network
filesystem", sqlite.org/wal.html), and every write is one IMMEDIATE transaction that first checks the driver's epoch.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlite_utils
from sqlite_utils.migrations import Migrations

from evohpc.errors import LeaseError, RunFolderError
from evohpc.records import Candidate, Isolation, Result, Status
from evohpc.rundir import storage_error

APPLICATION_ID = 0x45564F48  # "EVOH", shown by file(1)

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

TABLES = ("candidates", "results", "pool", "survivors", "closed_rounds")
"""What `evohpc rebuild` re-creates row for row."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate and the result that counts for it, if it has one."""

    candidate: Candidate
    result: Result | None


class Store:
    """The search database. Rows in, rows out."""

    def __init__(self, path: Path, *, epoch: int) -> None:
        """Open for writing, as the driver of that epoch; create or migrate the schema.

        Raises:
            LeaseError: a driver with a later epoch has taken over.
            RunFolderError: the file is no search database.
        """
        self._path, self._epoch = path, epoch
        with self._translated():
            self._db = sqlite_utils.Database(path, execute_plugins=False)
            self._db.conn.row_factory = sqlite3.Row
            for pragma in ("journal_mode=DELETE", "synchronous=EXTRA", "foreign_keys=ON", "busy_timeout=60000"):
                self._db.execute(f"PRAGMA {pragma}")
            migrations.apply(self._db)
            self._db.execute(f"PRAGMA application_id={APPLICATION_ID}")
            with self._db.atomic():
                self._db.execute("UPDATE fence SET epoch = ? WHERE epoch < ?", [epoch, epoch])
        with self.write():
            pass

    @classmethod
    def snapshot_reader(cls, path: Path) -> Store:
        """Open a snapshot, which never changes, for reading without locks.

        Raises:
            RunFolderError: there is none, or it is no search database.
        """
        if not path.is_file():
            raise RunFolderError(f"{path}: no such database")
        store = cls.__new__(cls)
        store._path, store._epoch = path, -1
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        with store._translated():
            connection = sqlite3.connect(uri, uri=True)
            connection.row_factory = sqlite3.Row
            store._db = sqlite_utils.Database(connection, execute_plugins=False)
            store._db.execute("SELECT epoch FROM fence")
        return store

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
        with self._translated():
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
        rows = [{**asdict(c), "parents": json.dumps(c.parents), "attempt": None, "fitness": None} for c in candidates]
        with self.write():
            self._db["candidates"].insert_all(rows, ignore=True)

    def add_results(self, results: Sequence[Result]) -> None:
        """Insert results; of two for the same attempt the first one counts."""
        rows = [
            {**asdict(r), **{key: json.dumps(getattr(r, key), sort_keys=True) for key in _JSON_COLUMNS}}
            for r in results
        ]
        with self.write():
            self._db["results"].insert_all(rows, ignore=True)

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

    def close_round(self, round: int, survivors: Sequence[str], *, retire: bool) -> None:
        """Record the survivors of a round in rank order, take them from the pool if they retire, mark it closed."""
        with self.write():
            self._db.conn.executemany(
                "INSERT OR IGNORE INTO survivors VALUES (?, ?, ?)",
                [(round, rank, candidate_id) for rank, candidate_id in enumerate(survivors)],
            )
            if retire:
                self._db.conn.executemany("DELETE FROM pool WHERE candidate_id = ?", [(s,) for s in survivors])
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

    def every(self) -> Iterator[Entry]:
        """Yield all candidates, seeds first, in order of round and id."""
        return map(_entry, self._db.execute(f"{_SELECT} ORDER BY round, id"))

    def best(self, count: int) -> list[Entry]:
        """Return the fittest candidates of the whole search, seeds included."""
        return self._entries("WHERE c.fitness IS NOT NULL ORDER BY c.fitness DESC, id LIMIT ?", count)

    def survivors(self, round: int) -> list[Entry]:
        """Return the survivors of a round in rank order: the parents of the next."""
        return self._entries("JOIN survivors s ON s.candidate_id = id WHERE s.round = ? ORDER BY s.rank", round)

    def pool_best(self, count: int, round: int | None = None) -> list[str]:
        """Return the ids of the fittest in the pool, of all rounds or one."""
        where, values = ("", []) if round is None else ("WHERE round = ?", [round])
        sql = f"SELECT candidate_id FROM pool {where} ORDER BY fitness DESC, candidate_id LIMIT ?"
        return [row[0] for row in self._db.execute(sql, [*values, count])]

    def pool_size(self) -> int:
        """Return how many candidates are in the pool."""
        return int(self._value("SELECT count(*) FROM pool"))

    def pool_at(self, places: Sequence[int]) -> list[str]:
        """Return the ids at these places of the pool in order of id."""
        sql = "SELECT candidate_id FROM pool ORDER BY candidate_id LIMIT 1 OFFSET ?"
        return [str(self._value(sql, place)) for place in places]

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
            found.setdefault(row["candidate_id"], []).append(_result(dict(row)))
        return found

    def results(self, candidate_id: str) -> list[Result]:
        """Return all attempts at one candidate."""
        sql = "SELECT * FROM results WHERE candidate_id = ? ORDER BY attempt"
        return [_result(dict(row)) for row in self._db.execute(sql, [candidate_id])]

    def counts(self, round: int | None = None) -> Mapping[Status, int]:
        """Return how many candidates have each status, of one round or of all children (seeds left out)."""
        where, value = ("round >= ?", 0) if round is None else ("round = ?", round)
        sql = f"SELECT status, count(*) FROM candidates WHERE {where} GROUP BY status"
        return {Status(status): count for status, count in self._db.execute(sql, [value])}

    def last_round(self) -> int | None:
        """Return the highest round that has candidates, or None."""
        return self._value("SELECT max(round) FROM candidates")  # type: ignore[no-any-return]

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return a table of `TABLES` as it is, in key order."""
        return sorted((tuple(row) for row in self._db.execute(f"SELECT * FROM {table}")), key=lambda row: row[:2])

    def snapshot(self, target: Path) -> None:
        """Write a verified copy that readers can open while this database is written to.

        Raises:
            StorageError: the file system refused.
        """
        aside = target.with_name(f".tmp-{target.name}")
        with self._translated():
            target.parent.mkdir(parents=True, exist_ok=True)
            aside.unlink(missing_ok=True)
            self._db.execute("VACUUM INTO ?", [str(aside)])
            copy = sqlite3.connect(aside)
            verdict = copy.execute("PRAGMA quick_check").fetchone()[0]
            copy.close()
            if verdict != "ok":
                raise RunFolderError(f"{self._path}: its copy fails SQLite's check: {verdict}; run `evohpc rebuild`")
            aside.replace(target)

    def _entries(self, clause: str, *values: object) -> list[Entry]:
        return [_entry(row) for row in self._db.execute(f"{_SELECT} {clause}", list(values))]

    def _value(self, sql: str, *values: object) -> Any:
        return self._db.execute(sql, list(values)).fetchone()[0]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn SQLite's and the system's errors into evohpc's."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise storage_error(self._path, OSError(str(error))) from error
            raise RunFolderError(f"{self._path}: {error}; `evohpc rebuild` makes it anew") from error
        except OSError as error:
            raise storage_error(self._path, error) from error


_JSON_COLUMNS = ("metrics", "seconds", "versions")
_RESULT_COLUMNS = tuple(Result.__dataclass_fields__)
_SELECT = (
    "SELECT c.*, "
    + ", ".join(f"r.{name} AS r_{name}" for name in _RESULT_COLUMNS)
    + " FROM candidates c LEFT JOIN results r ON r.candidate_id = c.id AND r.attempt = c.attempt"
)


def _entry(row: sqlite3.Row) -> Entry:
    values = dict(row)
    result = {name: values.pop(f"r_{name}") for name in _RESULT_COLUMNS}
    values.pop("attempt")
    values.pop("fitness")
    values["parents"] = tuple(json.loads(values["parents"]))
    values["status"] = Status(values["status"])
    return Entry(Candidate(**values), None if result["candidate_id"] is None else _result(result))


def _result(values: dict[str, Any]) -> Result:
    for name in _JSON_COLUMNS:
        values[name] = json.loads(values[name])
    return Result(**{**values, "status": Status(values["status"]), "isolation": Isolation(values["isolation"])})
