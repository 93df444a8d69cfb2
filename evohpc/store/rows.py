"""The rows of the store as values: a candidate, its result, and both together."""

from __future__ import annotations

import json
import sqlite3
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


RESULT_COLUMNS = tuple(Result.__dataclass_fields__)


SELECT_ENTRIES = (
    "SELECT c.*, "
    + ", ".join(f"r.{name} AS r_{name}" for name in RESULT_COLUMNS)
    + " FROM candidates c LEFT JOIN results r ON r.candidate_id = c.id AND r.attempt = c.attempt"
)


SELECT_KIN = (
    "SELECT c.id, c.round, c.parents, c.status, r.error, c.fitness "
    "FROM candidates c LEFT JOIN results r ON r.candidate_id = c.id AND r.attempt = c.attempt"
)


def as_kin(row: sqlite3.Row) -> Kin:
    """Return a row of `SELECT_KIN`."""
    return Kin(row[0], row[1], tuple(json.loads(row[2])), Status(row[3]), row[4], row[5])


def as_entry(row: sqlite3.Row) -> Entry:
    """Return a row of `SELECT_ENTRIES`."""
    values = dict(row)
    result = {name: values.pop(f"r_{name}") for name in RESULT_COLUMNS}
    values.pop("attempt")
    values.pop("fitness")
    values["parents"] = tuple(json.loads(values["parents"]))
    values["status"] = Status(values["status"])
    return Entry(Candidate(**values), None if result["candidate_id"] is None else as_result(result))


def as_result(values: dict[str, Any]) -> Result:
    """Return a row of the table `results`."""
    for name in JSON_COLUMNS:
        values[name] = json.loads(values[name])
    return Result(**{**values, "status": Status(values["status"]), "isolation": Isolation(values["isolation"])})
