"""The rows of the store as values: a candidate, its result, and both together."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from evohpc.messages import Candidate, Isolation, Result, Status


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate and the result that counts for it, if it has one."""

    candidate: Candidate
    result: Result | None

    @property
    def id(self) -> str:
        """Id of the candidate."""
        return self.candidate.id

    @property
    def error(self) -> float | None:
        """None where it was not trained."""
        return self.result.error if self.result else None

    @property
    def fitness(self) -> float | None:
        """None where it was not trained."""
        return self.result.fitness if self.result else None


class Score(NamedTuple):
    """The outcome of a trained candidate."""

    id: str
    error: float
    fitness: float
    round: int


class FaultyNode(NamedTuple):
    """A node on which attempts fail."""

    name: str
    faults: int
    """Attempts that ended as the machine's fault there, since the last one that did not."""
    last: str
    """When the last of them ended: UTC, ISO 8601."""


class Kin(NamedTuple):
    """Where a candidate comes from and what became of it, without its program."""

    id: str
    round: int
    parents: tuple[str, ...]
    """As its prompt showed them: one may be there twice."""
    status: Status
    error: float | None
    """None where it was not trained, as is its fitness."""
    fitness: float | None


JSON_COLUMNS = ("metrics", "seconds", "versions")


CANDIDATE_COLUMNS = tuple(Candidate.__dataclass_fields__)
RESULT_COLUMNS = tuple(Result.__dataclass_fields__)
"""In the order of their fields: 100,000 rows are made into values by place, not by name."""
_PARENTS, _STATUS = map(CANDIDATE_COLUMNS.index, ("parents", "status"))
_RESULT_STATUS, _ISOLATION = map(RESULT_COLUMNS.index, ("status", "isolation"))
_DOCUMENTS = tuple(map(RESULT_COLUMNS.index, JSON_COLUMNS))


_OF_CANDIDATE = ", ".join(f"c.{name}" for name in CANDIDATE_COLUMNS)
_OF_RESULT = ", ".join(f"r.{name}" for name in RESULT_COLUMNS)
SELECT_ENTRIES = (
    f"SELECT {_OF_CANDIDATE}, {_OF_RESULT} "
    "FROM candidates c LEFT JOIN results r ON r.candidate_id = c.id AND r.attempt = c.attempt"
)
SELECT_RESULTS = f"SELECT {_OF_RESULT} FROM results r"


SELECT_KIN = (
    "SELECT c.id, c.round, c.parents, c.status, r.error, c.fitness "
    "FROM candidates c LEFT JOIN results r ON r.candidate_id = c.id AND r.attempt = c.attempt"
)


def as_kin(row: sqlite3.Row) -> Kin:
    """Return a row of `SELECT_KIN`."""
    return Kin(row[0], row[1], tuple(json.loads(row[2])), Status(row[3]), row[4], row[5])


def as_entry(row: sqlite3.Row) -> Entry:
    """Return a row of `SELECT_ENTRIES`."""
    values = list(row)
    candidate, result = values[: len(CANDIDATE_COLUMNS)], values[len(CANDIDATE_COLUMNS) :]
    candidate[_PARENTS] = tuple(json.loads(candidate[_PARENTS]))
    candidate[_STATUS] = Status(candidate[_STATUS])
    return Entry(Candidate(*candidate), None if result[0] is None else as_result(result))


def as_result(row: Iterable[Any]) -> Result:
    """Return a row of `SELECT_RESULTS`."""
    values = list(row)
    for place in _DOCUMENTS:
        values[place] = json.loads(values[place])
    values[_RESULT_STATUS], values[_ISOLATION] = Status(values[_RESULT_STATUS]), Isolation(values[_ISOLATION])
    return Result(*values)
