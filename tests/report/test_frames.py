import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support import rows
from support.paths import ROOT
from support.reporting import candidate, make_run, trained, write
from support.searching import finish, make_config

import evohpc
from evohpc.errors import RunFolderError
from evohpc.messages import Result, Status
from evohpc.report import frames, tables
from evohpc.report.frames import Tables
from evohpc.report.reader import Reading
from evohpc.report.runs import Run
from evohpc.search.search import Search
from evohpc.store.rows import Entry

pytest.importorskip("pandas", reason="pip install 'evohpc[report]'")

NAMES = ("runs", "rounds", "candidates", "results", "lineage", "curves")


@pytest.fixture
def loaded(finished_run: Path) -> Tables:
    return evohpc.load(finished_run)


def test_a_row_a_candidate_as_export_has_it(loaded: Tables, finished_run: Path) -> None:
    with Reading(finished_run) as reading:
        rows = [tables.row(entry) for entry in reading.store.every()]
    assert list(loaded.candidates["id"]) == [row["id"] for row in rows]
    for column in ("num_params", "fitness", "metrics.val_accuracy", "source"):
        mine = loaded.candidates[column].astype(object).where(loaded.candidates[column].notna(), None)
        assert list(mine) == [row.get(column) for row in rows]


def test_counts_add_up(loaded: Tables) -> None:
    rounds, candidates = loaded.rounds, loaded.candidates
    assert rounds["children"].sum() == len(candidates)
    for name in tables.OUTCOMES:
        assert rounds[name.replace(" ", "_")].sum() == (candidates["outcome"] == name).sum()
    assert loaded.runs["children"].item() == (candidates["round"] >= 0).sum()
    assert loaded.runs["is_done"].item()


def test_the_best_so_far_never_falls(loaded: Tables) -> None:
    assert loaded.rounds["best_so_far"].is_monotonic_increasing
    assert loaded.rounds["best_so_far"].iloc[-1] == loaded.runs["best_fitness"].item()


def test_what_ended_a_search_early_is_known(tmp_path: Path, made_once: None, unsynced: None) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path, "search.stop.target_fitness=-100000")) as search:
        finish(search)
    loaded = evohpc.load(tmp_path / "run")
    assert loaded.runs["stopped_by"].item() == "target_fitness"
    assert not loaded.runs["is_done"].item()


def test_lineage_joins_with_candidates(loaded: Tables) -> None:
    children = loaded.lineage.merge(loaded.candidates, left_on="child", right_on="id")
    assert len(children) == len(loaded.lineage) == loaded.candidates["parents"].str.split().map(len).sum()
    assert set(loaded.lineage["parent"]) <= set(loaded.candidates["id"])


def test_configs_are_columns(loaded: Tables) -> None:
    assert loaded.runs["config.search.variant"].item() == loaded.runs["variant"].item() == "evoprompting"


def test_a_snapshot_alone_has_the_same_candidates(loaded: Tables, finished_run: Path, tmp_path: Path) -> None:
    shutil.copy(finished_run / "snapshots" / "search.db", tmp_path / "alone.db")
    alone = evohpc.load(tmp_path / "alone.db")
    assert list(alone.candidates["fitness"].dropna()) == list(loaded.candidates["fitness"].dropna())
    assert list(alone.results["id"]) == list(loaded.results["id"])
    assert alone.runs["run"].item() == "alone"


def test_the_same_search_twice_is_refused(finished_run: Path, tmp_path: Path) -> None:
    shutil.copy(finished_run / "snapshots" / "search.db", tmp_path / "alone.db")
    for twice in (finished_run, tmp_path / "alone.db"):
        with pytest.raises(RunFolderError, match="are the same search"):
            evohpc.load(finished_run, twice)


def test_a_snapshot_in_its_place_knows_its_run(loaded: Tables, finished_run: Path) -> None:
    there = evohpc.load(finished_run / "snapshots" / "search.db")
    assert there.runs["run"].item() == loaded.runs["run"].item()


def test_no_child_and_no_result_is_no_error(made_once: None, tmp_path: Path) -> None:
    run = make_run(tmp_path, 0)
    write(run, [])
    empty = evohpc.load(run)
    assert [len(getattr(empty, name)) for name in NAMES] == [1, 0, 0, 0, 0, 0]


def test_alpha_decides_what_counts(made_once: None, tmp_path: Path) -> None:
    run = make_run(tmp_path, 0, overrides=["search.error_threshold=0.3"])
    write(run, [(candidate("seed-a"), trained("seed-a", 10, 0.29)), (candidate("seed-b"), trained("seed-b", 1, 0.3))])
    loaded = evohpc.load(run)
    assert list(loaded.candidates["counts"]) == [True, False]
    assert loaded.runs["best"].item() == "seed-a"


def test_machine_faults_and_pending_do_not_lower_the_share(made_once: None, tmp_path: Path) -> None:
    run = make_run(tmp_path, 0)
    write(
        run,
        [
            (candidate("a", "1", round=0), trained("a", 10, 0.2)),
            (candidate("b", "2", round=0), None),
            (candidate("c", "3", round=0), trained("c", 1, 0.3, status=Status.NODE_FAIL, fitness=None)),
            (candidate("d", "4", round=0, status=Status.DUPLICATE), None),
        ],
    )
    assert evohpc.load(run).rounds["valid_novel"].item() == 0.5


@pytest.mark.parametrize("what", ["nothing", "folder", "file"])
def test_what_is_no_run_is_a_sentence(what: str, tmp_path: Path) -> None:
    path = tmp_path / what
    if what == "folder":
        path.mkdir()
    if what == "file":
        path.write_text("no database")
    with pytest.raises(RunFolderError, match=re.escape(str(path))):
        evohpc.load(path)


def test_every_column_is_in_the_dictionary(made_once: None, tmp_path: Path) -> None:
    """docs/report.md has a table for each of them, and no column that is not there."""
    loaded = evohpc.load(make_run(tmp_path, 40, rounds=2))
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    for name in NAMES:
        section = text.split(f"### `{name}`")[1].split("\n###")[0]
        described = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
        fixed = getattr(frames, f"{name.removesuffix('s').upper()}_COLUMNS")
        columns = [column for column in getattr(loaded, name).columns if "." not in column]
        assert columns == list(fixed)
        assert [column for column in described if "." not in column] == columns, name
        groups = {column.partition(".")[0] for column in getattr(loaded, name).columns if "." in column}
        assert {column.removesuffix(".*") for column in described if "." in column} == groups, name


def test_a_config_of_another_search_is_its_own_row(made_once: None, finished_run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path, 20, rounds=2, seed=4)
    both = evohpc.load(finished_run, other)
    assert list(both.runs["seed"]) == [make_config(tmp_path).search.seed, 4]
    assert both.candidates["run"].nunique() == 2


def test_a_candidate_s_rungs_all_cost_and_only_the_last_counts(tmp_path: Path) -> None:
    def attempt(id: str, number: int, status: Status, hours: float) -> Result:
        done = rows.trained(id, number, status=status, seconds={"total": 3600 * hours})
        return done if status is Status.TRAINED else replace(done, fitness=None, error=None)

    climbed = [
        attempt("c0", 1, Status.TRAINED, 1),
        attempt("c0", 2, Status.LOST, 9),
        attempt("c0", 3, Status.TRAINED, 4),
    ]
    left = [attempt("c1", 1, Status.TRAINED, 2), attempt("c1", 2, Status.DROPPED, 0)]
    entries = [
        Entry(rows.candidate("c0", status=Status.TRAINED), climbed[-1]),
        Entry(rows.candidate("c1", status=Status.DROPPED), left[-1]),
    ]
    run = Run("r", tmp_path, entries, [*climbed, *left], frozenset(), "acc")
    found = frames.tabulate([run])
    assert list(found.results["rung"]) == [0, 1, 1, 0, 1]
    assert found.results.query("status != 'lost'").groupby("rung")["seconds.total"].sum().to_dict() == {
        0: 10800,
        1: 14400,
    }
    assert found.runs["evaluation_hours"].item() == 7
    row = found.rounds.iloc[0]
    assert (row["trained"], row["dropped"], row["valid_novel"], row["best"]) == (1, 1, 1.0, "c0")
    assert list(found.candidates["counts"]) == [True, False]
