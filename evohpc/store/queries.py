"""What can be asked of the database of a search, the live one or a snapshot. Rows out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from evohpc.messages import Result, Status
from evohpc.store.light import sqlite_utils
from evohpc.store.rows import SELECT_ENTRIES, SELECT_KIN, Entry, Kin, Score, as_entry, as_kin, as_result

TABLES = ("candidates", "results", "pool", "survivors", "closed_rounds")
"""What `evohpc rebuild` re-creates row for row."""


class Queries:
    """The half of a `Store` that reads."""

    _db: sqlite_utils.Database

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

    def count(self, table: str) -> int:
        """Return how many rows a table of `TABLES` has."""
        return int(self._value(f"SELECT count(*) FROM {table}"))

    def _entries(self, clause: str, *values: object) -> list[Entry]:
        return [as_entry(row) for row in self._db.execute(f"{SELECT_ENTRIES} {clause}", list(values))]

    def _value(self, sql: str, *values: object) -> Any:
        return self._db.execute(sql, list(values)).fetchone()[0]
