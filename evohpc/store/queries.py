"""What can be asked of the database of a search, the live one or a snapshot. Rows out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from evohpc.messages import Result, Status
from evohpc.store.light import sqlite_utils
from evohpc.store.rows import (
    SELECT_ENTRIES,
    SELECT_KIN,
    SELECT_RESULTS,
    Entry,
    FaultyNode,
    Kin,
    Score,
    as_entry,
    as_kin,
    as_result,
)

STAGES = ("start", "check", "train", "run", "predict", "score")
"""Of an evaluation, whose wall seconds its result has."""

TABLES = ("candidates", "results", "pool", "survivors", "closed_rounds", "late_candidates")
"""What `evohpc rebuild` re-creates row for row."""

_OF_THE_NODE = (Status.NODE_FAIL, Status.CONTAINER_ERROR, Status.LOST)
"""Machine faults that may be those of the node they happened on."""


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

    def late(self, round: int) -> list[str]:
        """Return the ids of those that had no outcome when a round closed, of that round and earlier ones, in order."""
        return [row["candidate_id"] for row in self.rows("late_candidates") if row["round"] == round]

    def rounds_with_late(self) -> list[int]:
        """Return the rounds that closed while some of their candidates had no outcome, in order."""
        if not self._has("late_candidates"):
            return []
        late = "SELECT candidate_id FROM late_candidates"
        sql = f"SELECT DISTINCT round FROM candidates WHERE id IN ({late}) ORDER BY round"
        return [row[0] for row in self._db.execute(sql)]

    def entry(self, candidate_id: str) -> Entry | None:
        """Return one candidate."""
        return next(iter(self._entries("WHERE id = ?", candidate_id)), None)

    def with_ids(self, ids: Iterable[str]) -> list[Entry]:
        """Return candidates in the order of these ids."""
        return [entry for entry in map(self.entry, list(ids)) if entry is not None]

    def every(self, round: int | None = None, statuses: Sequence[Status] = ()) -> Iterator[Entry]:
        """Yield candidates, seeds first, in order of round and id; all, or those of one round or of some statuses."""
        has_status = f"c.status IN ({', '.join('?' * len(statuses))})" if statuses else "1"
        for number in self.counts_by_round() if round is None else (round,):  # not all programs sorted at once
            yield from self._entries(f"WHERE round = ? AND {has_status} ORDER BY id", number, *statuses)

    def kin(self) -> Iterator[Kin]:
        """Yield the descent of all candidates, seeds first, in order of round and id."""
        return map(as_kin, self._db.execute(f"{SELECT_KIN} ORDER BY round, id"))

    def scores(self, round: int | None = None) -> Iterator[Score]:
        """Yield the scores of trained candidates, seeds included, the fittest first; all, or those of one round."""
        where, values = (
            ("fitness IS NOT NULL", []) if round is None else ("round = ? AND c.status = 'trained'", [round])
        )
        sql = (
            "SELECT c.id, r.error, c.fitness, c.round FROM candidates c JOIN results r ON r.candidate_id = c.id "
            f"AND r.attempt = c.attempt WHERE c.{where} ORDER BY c.fitness DESC, c.id"
        )
        return map(Score._make, self._db.execute(sql, values))

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
            f"{SELECT_RESULTS} JOIN candidates c ON c.id = r.candidate_id "
            "WHERE c.round = ? AND c.status = 'pending' ORDER BY candidate_id, r.attempt"
        )
        found: dict[str, list[Result]] = {}
        for result in map(as_result, self._db.execute(sql, [round])):
            found.setdefault(result.candidate_id, []).append(result)
        return found

    def results(self, candidate_id: str) -> list[Result]:
        """Return all attempts at one candidate."""
        sql = f"{SELECT_RESULTS} WHERE candidate_id = ? ORDER BY attempt"
        return list(map(as_result, self._db.execute(sql, [candidate_id])))

    def every_result(self) -> Iterator[Result]:
        """Yield all attempts at all candidates, in order of candidate and attempt."""
        return map(as_result, self._db.execute(f"{SELECT_RESULTS} ORDER BY candidate_id, attempt"))

    def evaluation_seconds(self) -> tuple[float, int]:
        """Return the wall seconds of all evaluations, and the number of those that have a time."""
        sql = "SELECT total(t), count(t) FROM (SELECT json_extract(seconds, '$.total') AS t FROM results)"
        seconds, count = self._db.execute(sql).fetchone()
        return seconds, count

    def stage_seconds(self) -> dict[str, float]:
        """Return the wall seconds of all evaluations by stage, those left out that took none."""
        sums = ", ".join(f"total(json_extract(seconds, '$.{stage}'))" for stage in STAGES)
        found = zip(STAGES, self._db.execute(f"SELECT {sums} FROM results").fetchone(), strict=True)
        return {stage: seconds for stage, seconds in found if seconds}

    def faulty_nodes(self, faults: int) -> list[FaultyNode]:
        """Return the nodes whose last attempts, so many or more in a row, were the machine's fault; that of the latest
        fault first. A preemption counts neither way."""
        bad, neither = ", ".join(f"'{status}'" for status in _OF_THE_NODE), f"'{Status.PREEMPTED}'"
        sql = (
            "WITH good AS (SELECT host, max(finished_at) AS at FROM results "
            f"WHERE status NOT IN ({bad}, {neither}) GROUP BY host) "
            "SELECT r.host, count(*), max(r.finished_at) AS last FROM results r LEFT JOIN good ON good.host = r.host "
            f"WHERE r.status IN ({bad}) AND r.host <> '' AND r.finished_at > coalesce(good.at, '') "
            "GROUP BY r.host HAVING count(*) >= ? ORDER BY last DESC, r.host"
        )
        return list(map(FaultyNode._make, self._db.execute(sql, [faults])))

    def counts(self, round: int | None = None) -> Mapping[Status, int]:
        """Return how many candidates have each status, of one round or of all children (seeds left out)."""
        where, value = ("round >= ?", 0) if round is None else ("round = ?", round)
        sql = f"SELECT status, count(*) FROM candidates WHERE {where} GROUP BY status"
        return {Status(status): count for status, count in self._db.execute(sql, [value])}

    def counts_by_round(self) -> dict[int, dict[Status, int]]:
        """Return how many candidates have each status, by round in ascending order, the seeds' first."""
        found: dict[int, dict[Status, int]] = {}
        for round, status, count in self._db.execute(
            "SELECT round, status, count(*) FROM candidates GROUP BY round, status ORDER BY round"
        ):
            found.setdefault(round, {})[Status(status)] = count
        return found

    def last_round(self) -> int | None:
        """Return the highest round that has candidates, or None."""
        return self._value("SELECT max(round) FROM candidates")  # type: ignore[no-any-return]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table of `TABLES` as it is, by the names of its columns, in key order; none where a snapshot of an
        earlier evohpc lacks it."""
        if not self._has(table):
            return []
        found = sorted(self._db.execute(f"SELECT * FROM {table}"), key=lambda row: tuple(row)[:2])
        return [dict(row) for row in found]

    def count(self, table: str) -> int:
        """Return how many rows a table of `TABLES` has."""
        return int(self._value(f"SELECT count(*) FROM {table}")) if self._has(table) else 0

    def _has(self, table: str) -> bool:
        return bool(self._value("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", table))

    def _entries(self, clause: str, *values: object) -> list[Entry]:
        return [as_entry(row) for row in self._db.execute(f"{SELECT_ENTRIES} {clause}", list(values))]

    def _value(self, sql: str, *values: object) -> Any:
        return self._db.execute(sql, list(values)).fetchone()[0]
