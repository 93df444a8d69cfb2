"""What reports, tables and lists say of who was late (`search.close_at`)."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.command_line import call
from support.reporting import candidate, make_run, trained, write

import evohpc
from evohpc.messages import Status
from evohpc.report.aggregate import aggregate
from evohpc.report.reader import Reading
from evohpc.report.report import report
from evohpc.report.runs import read

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")
pytest.importorskip("pandas", reason="pip install 'evohpc[report]'")
pytest.importorskip("bokeh", reason="pip install 'evohpc[report]'")

LATE = {0: ["slow", "stuck", "fails", "poor"], 1: ["stuck", "poor"]}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A search of two closed rounds and an open one: of four late children one is good, one failed, one is at work, and
    the error of one is too high."""
    made = make_run(tmp_path, 0, rounds=3, overrides=["search.close_at=0.5", "search.error_threshold=0.5"])
    late = ("stuck", None), ("slow", trained("slow", 10, 0.1)), ("poor", trained("poor", 10, 0.9))
    failed = trained("fails", 1, 0.3, status=Status.TIMEOUT, detail="too slow", fitness=None)
    entries = [
        (candidate("seed-a", "s"), trained("seed-a", 100, 0.2)),
        (candidate("good", "g", round=0), trained("good", 50, 0.2)),
        *((candidate(id, id, round=0), result) for id, result in (*late, ("fails", failed))),
        (candidate("next", "n", round=1), trained("next", 40, 0.2)),
        (candidate("last", "l", round=2), None),
    ]
    write(made, entries, closed=(-1, 0, 1), late=LATE)
    return made


def test_rounds_runs_and_candidates_have_columns(run: Path) -> None:
    loaded = evohpc.load(run)
    assert loaded.rounds[["round", "late", "late_entered"]].values.tolist() == [
        [-1, 0, 0],
        [0, 4, 0],
        [1, 0, 1],
        [2, 0, 0],
    ]
    assert loaded.runs[["late", "late_entered"]].values.tolist() == [[4, 1]]
    until = loaded.candidates.set_index("id")["late_until"].dropna().to_dict()
    assert until == {"slow": 1, "fails": 1, "stuck": 2, "poor": 2}


def test_a_comparison_has_them(run: Path) -> None:
    (row,) = aggregate([run]).runs
    assert (row["late"], row["late_entered"]) == (4, 1)


def told_by_the_report(run: Path) -> dict[str, Any]:
    """Return the data of a run's report."""
    packed = re.search(r'id="data"[^>]*>([^<]+)<', report(read(run)))
    assert packed
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed[1])))
    return found


def test_a_report_has_them(run: Path) -> None:
    told = told_by_the_report(run)
    assert told["candidates"]["late_until"] == [None, 1, None, 2, 1, 2, None, None]
    assert [(row["late"], row["late_entered"]) for row in told["rounds"]] == [(0, 0), (4, 0), (0, 1), (0, 0)]
    assert ["late children", "4", "1 of them entered the pool of a later round"] in told["tiles"]


def test_status_tells_all_of_them(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = call(capsys, "status", run)[1]
    assert "late      1 of closed rounds without an outcome yet (search.close_at)" in said
    assert "were late 4 when their round closed; 1 entered the pool of a later one" in said
    document = json.loads(call(capsys, "status", run, "--json")[1])
    assert (document["late"], document["were_late"], document["late_entered"]) == (1, 4, 1)


def test_a_list_can_be_of_them(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in call(capsys, "list", run, "--late", "--json")[1].splitlines()]
    assert {row["candidate"]["id"]: row["late_until"] for row in rows} == {"fails": 1, "poor": 2, "slow": 1, "stuck": 2}
    said = call(capsys, "list", run, "--late")[1]
    assert "good" not in said
    assert "too slow; late: not known before round 1 closed" in " ".join(said.split())
    best = call(capsys, "list", run, "--late", "--best", "1", "--json")[1]
    assert json.loads(best)["candidate"]["id"] == "slow"
    assert json.loads(call(capsys, "show", run, "slow", "--json")[1])["late_until"] == 1
    assert json.loads(call(capsys, "show", run, "good", "--json")[1])["late_until"] is None


def test_an_export_has_them(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(call(capsys, "export", run, "--csv", "-")[1])))
    assert {row["id"]: row["late_until"] for row in rows if row["late_until"]} == {
        "fails": "1",
        "poor": "2",
        "slow": "1",
        "stuck": "2",
    }
    lines = [json.loads(line) for line in call(capsys, "export", run, "--jsonl", "-")[1].splitlines()]
    assert sum(line["late_until"] is not None for line in lines) == 4


def test_nothing_is_said_where_none_was_late(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_run(tmp_path, 4, rounds=1)
    with Reading(made) as reading:
        assert "were late" not in dict(reading.headlines())
    assert "no candidate is so" in call(capsys, "list", made, "--late")[2]
    assert "late children" not in [name for name, *_ in told_by_the_report(made)["tiles"]]
