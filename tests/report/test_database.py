"""Searches as an SQLite database, asked what docs/report.md asks."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest
from support.command_line import call
from support.paths import ROOT
from support.reporting import make_run

import evohpc
from evohpc.report.frames import Tables

pytest.importorskip("pandas", reason="pip install 'evohpc[report]'")
pytestmark = pytest.mark.usefixtures("unsynced", "made_once")


def queries() -> list[list[str]]:
    """Return the queries of docs/report.md, block by block."""
    blocks = re.findall(r"^```sql\n(.*?)^```$", (ROOT / "docs/report.md").read_text(), re.MULTILINE | re.DOTALL)
    return [[query for query in block.split(";\n") if query.strip()] for block in blocks]


def test_the_tables_are_those_of_load_and_the_queries_of_the_docs_have_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [make_run(tmp_path / name, 60, rounds=3, seed=seed, luck=seed) for seed, name in enumerate("ab")]
    path = tmp_path / "all.db"
    path.write_text("an earlier one")
    code, out, err = call(capsys, "export", *runs, "--sqlite", path)
    assert (code, out) == (0, "")
    assert f"wrote {path}" in err
    loaded = evohpc.load(*runs)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        for name in (field.name for field in fields(Tables)):
            found = database.execute(f"SELECT * FROM {name}")
            assert [column for column, *_ in found.description] == list(getattr(loaded, name).columns)
            assert len(found.fetchall()) == len(getattr(loaded, name))
        best, temperatures, gains = (database.execute(query).fetchall() for query in queries()[0])
    children = loaded.candidates.query("counts and round >= 0")
    fittest = children.loc[children.groupby("run")["fitness"].idxmax()]
    assert [row[:3] for row in best] == list(fittest[["run", "id", "fitness"]].itertuples(index=False, name=None))
    assert sum(row[1] for row in temperatures) == (loaded.candidates["round"] >= 0).sum()
    assert len(gains) == 10
    assert [gained for _, gained in gains] == sorted((gained for _, gained in gains), reverse=True)


def test_the_views_of_a_snapshot_are_what_load_says_and_their_queries_have_answers(
    finished_run: Path,
) -> None:
    loaded, snapshot = evohpc.load(finished_run), finished_run / "snapshots/search.db"
    with closing(sqlite3.connect(f"{snapshot.as_uri()}?mode=ro", uri=True)) as database:
        views = {"flat_candidates": loaded.candidates, "flat_results": loaded.results, "lineage": loaded.lineage}
        for view, table in views.items():
            found = database.execute(f"SELECT * FROM {view}")
            absent = {"run", "outcome", "counts", "rung"}
            columns = {"id" if name == "candidate_id" else name for name, *_ in found.description}
            assert columns == set(table.columns) - absent
            assert len(found.fetchall()) == len(table)
        best, outcomes, hosts, path = (database.execute(query).fetchall() for query in queries()[1])
    trained = loaded.candidates.query("error < 0.5").sort_values("fitness", ascending=False)
    assert [row[0] for row in best] == list(trained["id"])[:10]
    assert sum(children for *_, children in outcomes) == loaded.runs["children"].item()
    assert sum(attempts for _, attempts, *_ in hosts) == len(loaded.results)
    assert best[0][0] in {row[0] for row in path}


def test_a_snapshot_is_a_database_too(finished_run: Path) -> None:
    snapshot = finished_run / "snapshots/search.db"
    with closing(sqlite3.connect(f"{snapshot.as_uri()}?mode=ro", uri=True)) as database:
        query = "SELECT max(json_extract(metrics, '$.val_accuracy')) FROM results JOIN candidates ON id = candidate_id"
        assert (
            database.execute(query).fetchone()[0] == evohpc.load(finished_run).candidates["metrics.val_accuracy"].max()
        )
