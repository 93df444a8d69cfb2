"""Views of a finished copy: a row a candidate, its metrics and times as columns. For people who open it with SQLite."""

from __future__ import annotations

import re
import sqlite3

from evohpc.store.rows import CANDIDATE_COLUMNS, JSON_COLUMNS, RESULT_COLUMNS

_PLAIN = re.compile(r"[\w.:/@+ -]{1,80}", re.ASCII)
"""Names that are columns: tasks and candidates choose them. All others stay in the JSON of `results`."""
_MOST = 300
"""Such columns in a view; SQLite takes 2,000."""


def make(copy: sqlite3.Connection) -> None:
    """Make the views of a copy anew: one that was put in the place of a live database has left some there.

    Raises:
        sqlite3.DatabaseError: SQLite cannot.
    """
    measured = ", ".join(["", *_measured(copy)])
    candidate = ", ".join(f"c.{name}" for name in CANDIDATE_COLUMNS if name not in ("source", "parents"))
    result = ", ".join(f"r.{name}" for name in RESULT_COLUMNS if name not in JSON_COLUMNS)
    parents = "(SELECT group_concat(value, ' ') FROM json_each(c.parents)) AS parents"
    of_result = (
        "r.attempt, r.num_params, r.error, c.fitness, l.late_until, r.isolation, r.host, r.finished_at, r.source_sha256"
    )
    late = "(SELECT candidate_id, max(round) + 1 AS late_until FROM late_candidates GROUP BY candidate_id)"
    join = (
        "candidates c LEFT JOIN results r ON r.candidate_id = c.id AND r.attempt = c.attempt "
        f"LEFT JOIN {late} l ON l.candidate_id = c.id"
    )
    for name, query in {
        "flat_candidates": f"SELECT {candidate}, {parents}, {of_result}{measured}, c.source FROM {join}",
        "flat_results": f"SELECT {result}{measured} FROM results r",
        "lineage": "SELECT c.id AS child, p.value AS parent, p.key AS place FROM candidates c, json_each(c.parents) p",
    }.items():
        copy.execute(f"DROP VIEW IF EXISTS {name}")
        copy.execute(f"CREATE VIEW {name} AS {query}")


def _measured(copy: sqlite3.Connection) -> list[str]:
    """Return the columns that are made of JSON: `metrics.val_accuracy`, `seconds.train`, `versions.torch`."""
    found = []
    for group in JSON_COLUMNS:
        names = copy.execute(f"SELECT DISTINCT j.key FROM results r, json_each(r.{group}) j ORDER BY j.key")
        plain = dict.fromkeys(name for (name,) in names if _PLAIN.fullmatch(name))  # SQLite ends a name at a NUL
        found += [f"""json_extract(r.{group}, '$."{name}"') AS "{group}.{name}\"""" for name in plain]
    return found[:_MOST]
