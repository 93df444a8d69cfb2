"""Commands that draw runs."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from support.command_line import call
from support.evaluating import prepare_once
from support.programming import write_project
from support.reporting import make_run, write

from evohpc.config.search import load_config
from evohpc.messages import Result, Status
from evohpc.search import creation
from evohpc.search.search import Search

pytest.importorskip("bokeh", reason="pip install 'evohpc[report]'")
pytestmark = pytest.mark.usefixtures("unsynced", "made_once")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, found = tmp_path_factory.mktemp("runs"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(creation, "prepare", prepare_once)
        for place, variant in enumerate(("evoprompting", "no_tuning", "evoprompting", "no_tuning")):
            of_variant, run = [f"search.variant={variant}"], folder / f"{variant}{place}"
            found.append(make_run(run, 60, rounds=3, seed=place // 2, luck=place, overrides=of_variant))
    return found


@pytest.fixture
def runs(made: list[Path], tmp_path: Path) -> list[Path]:
    """Copies that a test may write into."""
    return [Path(shutil.copytree(run, tmp_path / run.parent.name / "run")) for run in made]


def test_a_report_lies_in_its_run_folder(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "report", runs[0])
    assert (code, out) == (0, f"{runs[0]}/report.html\n")
    assert f"file://{runs[0]}/report.html" in err
    page = (runs[0] / "report.html").read_text()
    assert page.count("<script") == 4
    assert "Content-Security-Policy" in page
    assert "unsafe-eval" not in page.split("</head>")[0]
    assert "http" not in page.split("</head>")[0].replace("http-equiv", "")


def test_of_a_snapshot_alone_a_file_must_be_named(
    runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    snapshot = tmp_path / "alone.db"
    snapshot.write_bytes((runs[0] / "snapshots" / "search.db").read_bytes())
    code, _, err = call(capsys, "report", snapshot)
    assert code == 1
    assert "-o FILE" in err
    code, out, _ = call(capsys, "report", snapshot, "-o", tmp_path / "alone.html")
    assert (code, out) == (0, f"{tmp_path}/alone.html\n")


def test_what_is_no_run_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = call(capsys, "report", tmp_path / "missing")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {tmp_path}/missing: no such run folder")
    assert err.count("\n") == 1


@pytest.mark.parametrize("package", ["bokeh", "pandas"])
def test_a_missing_extra_is_named(
    package: str, runs: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package or "evohpc.report.figures" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    words = ("report", runs[0]) if package == "bokeh" else ("aggregate", *runs, "-o", tmp_path / "all.csv")
    code, _, err = call(capsys, *words)
    assert code == 1
    assert err == f"error: {package} is not installed: pip install 'evohpc[report]'\n"


def test_runs_are_compared_by_group(runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = [tmp_path / f"all{suffix}" for suffix in (".html", ".csv", ".jsonl", ".tex")]
    options = [word for file in files for word in ("-o", file)]
    code, out, _ = call(capsys, "aggregate", *runs, "--by", "search.variant", "--target", -100, *options)
    assert code == 0
    assert out.split() == [str(file) for file in files]
    rows = [json.loads(line) for line in files[2].read_text().splitlines()]
    assert [row["group"] for row in rows] == ["evoprompting", "no_tuning"] * 2
    assert len(files[1].read_text().splitlines()) == 5
    assert r"no\_tuning & 2 &" in files[3].read_text()


@pytest.mark.parametrize("command", ["report", "aggregate"])
@pytest.mark.parametrize("target", ["nan", "inf"])
def test_a_target_that_is_no_number_is_a_mistake_of_the_command(
    runs: list[Path], capsys: pytest.CaptureFixture[str], command: str, target: str
) -> None:
    code, _, err = call(capsys, command, runs[0], "--target", target)
    assert code == 2
    assert "give a finite number" in err


def test_parquet_is_what_pandas_reads(runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas

    call(capsys, "aggregate", *runs, "-o", tmp_path / "all.parquet")
    assert len(pandas.read_parquet(tmp_path / "all.parquet")) == 4


def test_broken_and_unfinished_runs_are_named_and_not_fatal(
    runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (runs[0] / "snapshots" / "search.db").write_bytes(b"torn")
    write(runs[1], [])
    (tmp_path / "empty").mkdir()
    code, out, err = call(capsys, "aggregate", *runs, tmp_path / "empty")
    assert code == 0
    assert f"left out: {runs[0]}" in err
    assert f"left out: {runs[0]}: {runs[0]}" not in err
    assert f"left out: {tmp_path}/empty" in err
    assert f"{runs[1]} is not finished: all are compared at its 0 evaluations" in err
    assert "all" in out


def test_runs_of_different_tasks_are_named_and_can_be_taken_apart(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Also where the tasks are a user's own, of which each run has a copy, and have one name."""
    for name in ("a", "b", "c"):
        config = write_project(tmp_path / f"project-{name}")
        task = load_config(config).task.file
        assert task is not None
        task.write_text(task.read_text() + ("# of today\n" if name == "c" else ""))
        with Search.create(tmp_path / name, load_config(config)) as search:
            for candidate in search.ask():
                search.tell(Result(candidate.id, 1, Status.TRAINED, "", 9, 0.4, -3.6, {"right": 0.6}))
    searches = [tmp_path / name for name in ("a", "b", "c")]
    _, _, err = call(capsys, "aggregate", *searches[:2])
    assert "different tasks" not in err
    _, _, err = call(capsys, "aggregate", *searches)
    assert re.search(r"these runs are of different tasks \((\w+)-\w{8}, \1-\w{8}\): their fitness cannot be", err)
    _, _, err = call(capsys, "aggregate", *searches, "--by", "task", "-o", tmp_path / "all.jsonl")
    assert "different tasks" not in err
    a, b, c = [json.loads(line)["group"] for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert a == b != c


def test_a_key_that_no_config_has_is_answered_with_one(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    for key, said in (
        ("search.varient", "did you mean search.variant? take e.g. search.variant"),
        ("variant", "take e.g. search.variant"),
        ("colour", "take e.g. search.variant"),
    ):
        code, _, err = call(capsys, "aggregate", runs[0], "--by", key)
        assert (code, f"has no such key in its config; {said}\n" in err) == (1, True), err


def test_the_same_search_twice_is_refused(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "aggregate", runs[0], runs[0] / "snapshots" / "search.db")
    assert code == 1
    assert "are the same search" in err


def test_a_snapshot_alone_counts_once_too(runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("a.db", "b.db"):
        shutil.copy(runs[0] / "snapshots" / "search.db", tmp_path / name)
    for other in (tmp_path / "b.db", runs[0]):
        code, _, err = call(capsys, "aggregate", tmp_path / "a.db", other)
        assert code == 1
        assert f"{other} and {tmp_path / 'a.db'} are the same search" in err


def test_snapshots_of_one_name_are_told_apart(
    runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for place, run in enumerate(runs[:2]):
        (tmp_path / str(place)).mkdir()
        shutil.copy(run / "snapshots" / "search.db", tmp_path / str(place) / "best.db")
    table = tmp_path / "all.jsonl"
    code, _, err = call(capsys, "aggregate", *(tmp_path / name / "best.db" for name in "01"), "-o", table)
    assert (code, err) == (0, "")
    names = [json.loads(line)["run"] for line in table.read_text().splitlines()]
    assert names == [str(tmp_path / name / "best.db") for name in "01"]


def test_none_that_can_be_read_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "aggregate", tmp_path / "a", tmp_path / "b")
    assert code == 1
    assert "none of these runs can be read" in err


def test_an_unknown_format_names_those_that_are(
    runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = call(capsys, "aggregate", *runs, "-o", tmp_path / "all.xlsx")
    assert code == 1
    assert "take .html, .csv, .jsonl, .parquet, .tex" in err


def test_the_size_of_programs_is_called_as_their_task_calls_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with Search.create(tmp_path / "run", load_config(write_project(tmp_path / "project"))) as search:
        while candidates := search.ask():
            for candidate in candidates:
                search.tell(Result(candidate.id, 1, Status.TRAINED, "", 9, 0.4, -3.6, {"right": 0.6}))
    assert call(capsys, "report", tmp_path / "run")[0] == 0
    page = (tmp_path / "run" / "report.html").read_text()
    packed = re.findall(r"<script[^>]*type=[^>]*>([A-Za-z0-9+/=]{100,})<", page)
    texts = page + "".join(gzip.decompress(base64.b64decode(text)).decode() for text in packed)
    assert "; nodes 9" in texts
    assert "size (nodes)" in texts
    assert "size (parameters)" not in texts
    code, out, _ = call(capsys, "why", tmp_path / "run", "seed-one")
    assert code == 0
    assert "nodes 9, error 0.4" in " ".join(out.split())
