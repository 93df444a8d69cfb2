from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from support.command_line import call
from support.searching import finish, make_config

from evohpc import cli
from evohpc.search.search import Search

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")


def test_a_terminal_of_80_columns_shows_whole_numbers_and_names(
    finished_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (cli.inspect, cli.status):
        monkeypatch.setattr(module, "stdout_console", lambda: Console(width=80))
    for command in ("status", "list"):
        _, out, _ = call(capsys, command, finished_run)
        assert "…" not in out
        assert max(map(len, out.splitlines()[1:])) <= 80, "but for the first, which may hold a long path"
        assert Search.open(finished_run).best(1)[0].candidate.id in out


def test_what_cannot_be_printed_is_one_readable_sentence(
    finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "export", finished_run, "--csv", "/dev/full")
    assert (code, err) == (1, "error: cannot write what was asked for: No space left on device\n")


def test_list_filters_and_sorts(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "list", finished_run, "--best", 5, "--round", 1, "--json")
    entries = [json.loads(line) for line in out.splitlines()]
    fitness = [entry["result"]["fitness"] for entry in entries]
    assert fitness == sorted(fitness, reverse=True)
    assert {entry["candidate"]["round"] for entry in entries} == {1}
    _, out, _ = call(capsys, "list", finished_run, "--best", 5, "--status", "trained", "--status", "syntax", "--json")
    assert [json.loads(line)["candidate"]["id"] for line in out.splitlines()] == [
        entry.id for entry in Search.open(finished_run).best(5)
    ]
    assert call(capsys, "list", finished_run, "--best", 5, "--status", "duplicate", "--json")[:2] == (0, "")
    _, out, _ = call(capsys, "list", finished_run, "--status", "duplicate")
    assert "same program as" in out
    assert "trained" not in out
    code, _, err = call(capsys, "list", finished_run, "--status", "dead")
    assert code == 2
    assert "node_fail" in err


def test_show_prints_a_program_that_can_be_piped_into_a_file(
    finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (finished_run / "seeds" / "cnn.py").read_text()
    assert call(capsys, "show", finished_run, "seed-cnn", "--source")[1] == source
    _, out, _ = call(capsys, "show", finished_run, "seed-cnn")
    assert "attempt 1" in out
    assert out.endswith(source)


def test_export_has_every_candidate_with_all_its_numbers(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = call(capsys, "export", finished_run, "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 4 + 16
    best = Search.open(finished_run).best(1)[0]
    row = next(row for row in rows if row["id"] == best.candidate.id)
    assert best.result is not None
    assert float(row["fitness"]) == best.result.fitness
    assert float(row["metrics.val_accuracy"]) == best.result.metrics["val_accuracy"]
    assert row["source"] == best.candidate.source
    call(capsys, "export", finished_run, "--jsonl", tmp_path / "out.jsonl")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 20
    assert call(capsys, "export", finished_run)[0] == 2


def test_export_of_several_searches_is_one_table(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Search.create(tmp_path / "other", make_config(tmp_path, "search.rounds=1")) as search:
        finish(search)
    _, out, _ = call(capsys, "export", finished_run, tmp_path / "other", "--csv", "-")
    runs = [row["run"] for row in csv.DictReader(io.StringIO(out))]
    assert (runs.count(Search.open(finished_run).run_id), runs.count(search.run_id)) == (20, 12)


def test_an_export_that_cannot_be_made_leaves_the_last_one_as_it_is(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(finished_run, tmp_path / "copy")
    for format in ("csv", "jsonl"):
        last = tmp_path / f"last.{format}"
        call(capsys, "export", finished_run, f"--{format}", last)
        before = last.read_bytes()
        for other, message in ((copy, "are the same search; leave one"), (tmp_path / "no", "is no run folder")):
            code, _, err = call(capsys, "export", finished_run, other, f"--{format}", last)
            assert (code, last.read_bytes()) == (1, before)
            assert message in err


def test_what_is_next_can_be_pasted_into_a_shell(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(finished_run, tmp_path / "a run; with blanks")
    words = shlex.split(call(capsys, "status", copy)[2])
    assert words[:4] == ["next:", "evohpc", "show", str(copy)]
