from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from support import reporting
from support.command_line import call
from support.searching import make_config

from evohpc.messages import Status
from evohpc.search.search import Search

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")

HOSTILE = "x\x1b]0;owned\x07[bold]\u202e"


@pytest.fixture
def hostile_run(tmp_path: Path) -> Path:
    """A run whose child has a terminal's commands in its program and in its exception."""
    run = tmp_path / "run"
    Search.create(run, make_config(tmp_path)).close()
    source = f"class Model:\n    # {HOSTILE}\n"
    failed = reporting.trained("r000p00s000", 10, 0.1, status=Status.TRAIN_ERROR, detail=f"E: {HOSTILE}", fitness=None)
    child = reporting.candidate("r000p00s000", source, round=0, parents=("seed-a", "seed-a"))
    seed = reporting.candidate("seed-a", "class Model:\n    pass\n")
    reporting.write(run, [(seed, reporting.trained("seed-a", 20, 0.1)), (child, failed)])
    return run


def test_why_says_where_the_best_comes_from_and_what_it_was_asked_for(
    finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = Search.open(finished_run).best(1)[0]
    code, out, _ = call(capsys, "why", finished_run)
    assert code == 0
    assert out.startswith(f"{best.id}\n")
    assert "Its prompt asked for " in " ".join(out.split())
    assert "It is the best of the " in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 100


def test_why_for_machines_agrees_with_the_rows(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranked = Search.open(finished_run).best(1000)
    for rank, entry in enumerate(ranked[:3], start=1):
        said = json.loads(call(capsys, "why", finished_run, entry.id, "--json")[1])
        assert (said["schema"], said["kind"], said["rank"], said["ranked"]) == (1, "why", rank, len(ranked))
        assert tuple(said["parents"]) == entry.candidate.parents
        assert entry.id.startswith("seed-") or set(said["asked"]) == {"num_params", "val_accuracy"}


def test_every_candidate_can_be_explained(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in call(capsys, "list", finished_run, "--json")[1].splitlines():
        id = json.loads(line)["candidate"]["id"]
        for command in ("why", "lineage", "diff"):
            code, out, err = call(capsys, command, finished_run, id)
            assert code == (1 if command == "diff" and id.startswith("seed-") else 0), (command, err)
            assert out or code or "has the same text as" in err


def test_a_diff_turns_the_parent_into_the_child(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = Search.open(finished_run).best(1)[0]
    parent = best.candidate.parents[0]
    before = tmp_path / "program.py"
    before.write_text(call(capsys, "show", finished_run, parent, "--source")[1])
    patch = call(capsys, "diff", finished_run, "best", parent)[1]
    subprocess.run(["patch", str(before)], input=patch, text=True, check=True, capture_output=True)
    assert before.read_text() == best.candidate.source


def test_a_seed_is_compared_with_what_is_named(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "diff", finished_run, "seed-cnn")
    assert (code, "is a seed and has no parents; name another" in err) == (1, True)
    code, out, _ = call(capsys, "diff", finished_run, "seed-cnn", "seed-gru")
    assert (code, out.splitlines()[:2]) == (0, ["--- seed-gru", "+++ seed-cnn"])
    assert "has the same text as seed-cnn" in call(capsys, "diff", finished_run, "seed-cnn", "seed-cnn")[2]


def test_who_is_not_there_is_named_with_the_next_step(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("why", "diff", "lineage"):
        code, _, err = call(capsys, command, finished_run, "r9")
        assert code == 1
        assert f"has no candidate 'r9'; see: evohpc list {finished_run}" in err


@pytest.mark.parametrize("columns", ["0", "1", "80"])
def test_a_terminal_without_a_width_is_no_error(
    finished_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for command in ("why", "lineage", "list", "show", "status"):
        code, out, _ = call(capsys, command, finished_run)
        assert (code, bool(out)) == (0, True), command


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cnn", "seed-cnn"),
        ("seed-cnn.py", "seed-cnn"),
        ("Seed-CNN", "seed-cnn"),
        ("seed_gru", "seed-gru"),
        ("r0p0s0", "r000p00s000"),
        ("R000P00S000", "r000p00s000"),
        ("r00p000s00", "r000p00s000"),
        ("r999p99s999", ""),
        (f"r{'9' * 5000}p0s0", ""),
        ("resnet", ""),
        ("", ""),
    ],
)
def test_who_was_meant_is_asked(finished_run: Path, capsys: pytest.CaptureFixture[str], typed: str, meant: str) -> None:
    code, _, err = call(capsys, "why", finished_run, typed)
    assert code == 1
    assert f"has no candidate '{typed}'; {f'did you mean {meant}? ' if meant else ''}see: evohpc list" in err


def test_what_a_candidate_wrote_does_not_reach_the_terminal(
    hostile_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("why", "diff", "lineage"):
        out = call(capsys, command, hostile_run, "r000p00s000")[1]
        assert not set("\x1b\x07\u202e") & set(out), command
        assert command == "lineage" or "\\x1b]0;owned\\x07[bold]\\u202e" in out, command
    document = json.loads(call(capsys, "diff", hostile_run, "r000p00s000", "--json")[1])
    assert f"+    # {HOSTILE}" in document["differences"][0]["lines"], "machines get the text as it is"


def test_a_tree_shows_each_once_and_fits_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = reporting.make_run(tmp_path, 200, rounds=8)
    monkeypatch.setenv("COLUMNS", "80")
    document = json.loads(call(capsys, "lineage", run, "--json")[1])
    out = call(capsys, "lineage", run, "--depth", 0)[1]
    with_branches = [line.split()[-4] for line in out.splitlines() if "^" not in line and "seed-" not in line]
    ancestors = [row["id"] for row in document["ancestors"] if row["parents"]]
    assert sorted(with_branches) == sorted([document["id"], *ancestors])
    assert max(map(len, call(capsys, "lineage", run)[1].splitlines())) <= 80
    path = [line.split()[0] for line in call(capsys, "lineage", run, "--path")[1].splitlines()]
    assert path == document["path"]
    assert path[-1].startswith("seed-")


def test_descendants_are_drawn_down_from_a_seed(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(call(capsys, "lineage", finished_run, "seed-cnn", "--json")[1])
    out = call(capsys, "lineage", finished_run, "seed-cnn", "--down", "--depth", 0)[1]
    trained = {row["id"] for row in document["descendants"] if row["status"] == "trained"}
    assert trained
    assert {word for word in out.split() if word.startswith("r0")} == trained
    assert call(capsys, "lineage", finished_run, "seed-cnn", "--down", "--path")[0] == 2
