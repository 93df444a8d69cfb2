from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.rows import candidate, trained

from evohpc.errors import RunFolderError
from evohpc.messages import SEED_ROUND, Status
from evohpc.store.store import Store

HOSTILE = ('a"b', "a'b", "x\"') --", "", "ü", "n" * 81, "val.accuracy\0b", "$", "a\nb")


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        yield database


def rows(path: Path, view: str) -> list[dict[str, Any]]:
    with opened(path) as database:
        return [dict(row) for row in database.execute(f"SELECT * FROM {view}")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "search.db", epoch=1)) as store:
        seed = candidate("seed-a", round=SEED_ROUND, parents=())
        store.add_candidates([seed, candidate("c", parents=("seed-b", "seed-a", "seed-b")), candidate("d")])
        results = [
            trained("seed-a", metrics={"val.accuracy": 0.9, "reported_loss-2": 1.5}, seconds={"total": 3.5}),
            trained("c", status=Status.LOST, fitness=None, error=None, num_params=None, metrics={}),
            trained("c", 2, metrics=dict.fromkeys(HOSTILE, 1.0), versions={"torch": "2.9"}),
        ]
        store.add_results(results)
        store.conclude([results[0], results[2]])
        yield store


def test_a_row_a_candidate_and_its_numbers_are_columns(store: Store, tmp_path: Path) -> None:
    store.snapshot(tmp_path / "copy.db")
    first, second, third = sorted(rows(tmp_path / "copy.db", "flat_candidates"), key=lambda row: str(row["id"]))
    assert (first["id"], first["parents"], first["attempt"], first["fitness"]) == ("c", "seed-b seed-a seed-b", 2, -50)
    assert (first["metrics.val.accuracy"], first["versions.torch"]) == (None, "2.9")
    assert (second["id"], second["status"], second["attempt"], second["error"]) == ("d", "pending", None, None)
    assert (third["metrics.val.accuracy"], third["metrics.reported_loss-2"]) == (0.9, 1.5)
    assert (third["seconds.total"], third["source"], third["parents"]) == (3.5, "source of seed-a\n", None)


def test_attempts_and_descent_are_views_too(store: Store, tmp_path: Path) -> None:
    store.snapshot(tmp_path / "copy.db")
    attempts = rows(tmp_path / "copy.db", "flat_results")
    found = {(row["candidate_id"], row["attempt"]): (row["status"], row["metrics.val.accuracy"]) for row in attempts}
    assert found == {("seed-a", 1): ("trained", 0.9), ("c", 1): ("lost", None), ("c", 2): ("trained", None)}
    lineage = [tuple(row.values()) for row in rows(tmp_path / "copy.db", "lineage") if row["child"] == "c"]
    assert sorted(lineage) == [("c", "seed-a", 1), ("c", "seed-b", 0), ("c", "seed-b", 2)]


def test_a_name_that_is_no_column_stays_in_the_json(store: Store, tmp_path: Path) -> None:
    store.snapshot(tmp_path / "copy.db")
    with opened(tmp_path / "copy.db") as database:
        names = [column for column, *_ in database.execute("SELECT * FROM flat_candidates").description]
        count = database.execute("SELECT count(*) FROM results, json_each(metrics)").fetchone()[0]
    metrics = [name.removeprefix("metrics.") for name in names if name.startswith("metrics.")]
    assert metrics == ["reported_loss-2", "val.accuracy"]
    assert count == 2 + len(HOSTILE)


def test_a_thousand_names_are_no_fault(store: Store, tmp_path: Path) -> None:
    store.add_candidates([candidate("e")])
    store.add_results([trained("e", metrics={f"m{number}": 1.0 for number in range(3000)})])
    store.snapshot(tmp_path / "copy.db")
    assert len(rows(tmp_path / "copy.db", "flat_results")) == 4


def test_a_copy_that_was_put_in_the_place_of_the_database_is_one(store: Store, tmp_path: Path) -> None:
    store.snapshot(tmp_path / "copy.db")
    written = store.rows("candidates")
    place = tmp_path / "put" / "search.db"
    place.parent.mkdir()
    place.write_bytes((tmp_path / "copy.db").read_bytes())
    for epoch in (2, 3):  # with its checksum, and without
        with closing(Store(place, epoch=epoch)) as again:
            assert [row for row in again.rows("candidates") if not row["id"].startswith("e")] == written
            again.add_candidates([candidate(f"e{epoch}")])
            again.add_results([trained(f"e{epoch}", metrics={f"new{epoch}": 1.0})])
            again.snapshot(tmp_path / "again.db")
        assert {row[f"metrics.new{epoch}"] for row in rows(tmp_path / "again.db", "flat_results")} == {None, 1.0}


def test_the_live_database_is_still_refused_with_what_is_not_ours(store: Store, tmp_path: Path) -> None:
    store.close()
    with closing(sqlite3.connect(tmp_path / "search.db")) as database:
        database.execute("CREATE TRIGGER t AFTER INSERT ON pool BEGIN DELETE FROM pool; END")
    with pytest.raises(RunFolderError, match="its tables are not those of a search"):
        Store(tmp_path / "search.db", epoch=2)
