from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from support import reporting
from support.command_line import call
from support.paths import ROOT
from support.rows import candidate, trained
from support.searching import finish, make_config

from evohpc import cli
from evohpc.cli.choosing import SORT_KEYS, STATUS_GROUPS
from evohpc.config.search import load_config
from evohpc.messages import Status
from evohpc.report import tables
from evohpc.report.programs import write_programs
from evohpc.report.reader import Reading
from evohpc.search.search import Search
from evohpc.store.rows import Entry
from evohpc.tasks.base import load_task

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


def test_a_pipe_gets_rows_without_padding(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (("status",), ("list",), ("list", "--status", "timeout"), ("show", "best"), ("status", "--watch")):
        _, out, _ = call(capsys, command[0], finished_run, *command[1:])
        assert out.strip()
        assert not [line for line in out.splitlines() if line != line.rstrip()], command


def test_a_pipe_is_as_wide_as_columns_says(
    finished_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = max(map(len, call(capsys, "list", finished_run)[1].splitlines()))
    monkeypatch.setenv("COLUMNS", str(wide - 10))
    assert max(map(len, call(capsys, "list", finished_run)[1].splitlines())) <= wide - 10


def test_show_prints_what_the_language_model_was_given(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Reading(finished_run) as reading:
        child = reading.store.entries(0)[0].candidate
        prompt = reading.prompt(child)
    assert prompt
    assert call(capsys, "show", finished_run, child.id, "--prompt") == (0, f"{prompt}\n", "")
    said = "error: there is no prompt of seed-mlp: the user wrote it\n"
    assert call(capsys, "show", finished_run, "seed-mlp", "--prompt") == (1, "", said)


def test_show_prints_what_is_new_in_a_child(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Reading(finished_run) as reading:
        child = reading.store.entries(0)[0].candidate
    shown = call(capsys, "show", finished_run, child.id, "--diff")
    assert shown == call(capsys, "diff", finished_run, child.id)
    assert shown[1].startswith(f"--- {child.parents[0]}\n+++ {child.id}\n")
    said = "error: seed-mlp is a seed and has no parents; name another candidate to compare it with\n"
    assert call(capsys, "show", finished_run, "seed-mlp", "--diff") == (1, "", said)


def test_what_cannot_be_printed_is_one_readable_sentence(
    finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "export", finished_run, "--csv", "/dev/full")
    assert (code, err) == (1, "error: cannot write what was asked for: No space left on device\n")


def test_show_shows_the_best_if_none_is_named(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "show", finished_run) == call(capsys, "show", finished_run, "best")


def test_list_shows_what_it_sorts_by(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key, shown in (("tokens", True), ("seconds", True), ("error", True), ("fitness", False), ("params", False)):
        header = call(capsys, "list", finished_run, "--sort", key)[1].splitlines()[1].split()
        assert header == ["id", "outcome", "fitness", key if shown else "val_accuracy", "params", "detail"]


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


def test_list_knows_the_classes_that_tables_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = reporting.make_run(tmp_path, 60)
    for options, classes in (
        (("--failed",), {"failed"}),
        (("--status", "refused"), {"refused"}),
        (("--status", "machine_fault", "--status", "trained"), {"machine fault", "trained"}),
    ):
        _, out, _ = call(capsys, "list", run, *options, "--json")
        statuses = [Status(json.loads(line)["candidate"]["status"]) for line in out.splitlines()]
        assert {tables.outcome(status) for status in statuses} == classes
        every = call(capsys, "list", run, "--json")[1].splitlines()
        counted = [Status(json.loads(line)["candidate"]["status"]) for line in every]
        assert len(statuses) == sum(tables.outcome(status) in classes for status in counted)


def test_the_classes_are_those_of_the_tables() -> None:
    for name, statuses in STATUS_GROUPS.items():
        outcome = name.replace("_", " ")
        assert set(statuses) == {status for status in Status if tables.outcome(status) == outcome}


@pytest.mark.parametrize("key", SORT_KEYS)
def test_list_sorts_and_puts_what_has_no_number_last(
    tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = reporting.make_run(tmp_path, 40)

    def values(*options: str) -> list[float | None]:
        printed = call(capsys, "list", run, "--sort", key, *options, "--json")[1]
        rows = [json.loads(line) for line in printed.splitlines()]
        if key == "tokens":
            return [row["candidate"]["tokens"] for row in rows]
        results = [row["result"] or {} for row in rows]
        name = "num_params" if key == "params" else key
        return [r.get("seconds", {}).get("total") if key == "seconds" else r.get(name) for r in results]

    for options in ((), ("--reverse",)):
        found = values(*options)
        known = [value for value in found if value is not None]
        assert known == sorted(known, reverse=(key == "fitness") != bool(options))
        assert len(found) == 43
        assert found[: len(known)] == known


def test_an_empty_answer_says_so(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ((), ("--json",)):
        code, out, err = call(capsys, "list", finished_run, "--status", "timeout", *options)
        assert (code, err) == (0, "no candidate is so; the search has 16 children\n")
        assert "r00" not in out


def test_who_is_fitter_than_the_best_but_not_counted_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = reporting.make_run(tmp_path, 0)
    sizes = {"seed-a": (1000, 0.2), "seed-b": (10, 0.7), "seed-c": (20, 0.5), "seed-d": (5000, 0.9)}
    entries = [(reporting.candidate(name), reporting.trained(name, *size)) for name, size in sizes.items()]
    reporting.write(run, entries)
    said = (
        "2 candidates, the fittest seed-b with -7, are fitter than the best but not counted: an error is not below 0.5 "
        "(search.error_threshold)\n"
    )
    assert call(capsys, "status", run)[1].endswith(said)
    assert call(capsys, "list", run, "--best", 3)[2] == said
    assert call(capsys, "list", run)[2] == ""
    for name, error in {"seed-b": 0.7, "seed-c": 0.5, "seed-d": 0.9}.items():
        why = f"not counted: its error {error} is not below 0.5 (search.error_threshold)"
        assert f"trained: {why}\n" in call(capsys, "show", run, name)[1]
        assert len(re.findall(rf"^ {name} .* {re.escape(why)}$", call(capsys, "list", run)[1], re.MULTILINE)) == 1
    assert "not counted" not in call(capsys, "show", run, "seed-a")[1]


def test_where_nobody_counts_nobody_is_said_to_be_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = reporting.make_run(tmp_path, 0)
    reporting.write(run, [(reporting.candidate("seed-b"), reporting.trained("seed-b", 10, 0.7))])
    said = (
        "1 candidate, seed-b with -7, was trained but not counted: an error is not below 0.5 (search.error_threshold)\n"
    )
    assert call(capsys, "list", run, "--best", 3)[2].endswith(said)
    none = "nothing was trained with an error below 0.5 (search.error_threshold) yet"
    assert call(capsys, "show", run) == (1, "", f"error: {run}: {none}; see: evohpc list {run}\n")


def test_the_fittest_programs_are_seeds_of_another_search(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "best"
    code, _, err = call(capsys, "export", finished_run, "--best", 3, "--programs", folder)
    assert (code, err) == (0, f"wrote 3 programs to {folder}; see {folder}/README.md\n")
    best = Search.open(finished_run).best(3)
    document = json.loads((folder / "programs.json").read_text())
    assert [row["id"] for row in document["programs"]] == [entry.id for entry in best]
    for row, entry in zip(document["programs"], best, strict=True):
        assert (folder / row["file"]).read_text() == entry.candidate.source
        assert row["fitness"] == entry.fitness
    config = load_config(folder / "config.yaml")
    assert config.seeds == folder.resolve()
    with Search.create(tmp_path / "warm", config) as search:
        asked = search.ask()
    assert {candidate.source for candidate in asked} == {entry.candidate.source for entry in best}


def test_programs_whose_files_would_have_one_name_are_all_written(tmp_path: Path) -> None:
    ids = "seed-best-fit", "seed-best_fit", "seed-r003p07s012", "r003p07s012"
    entries = [Entry(candidate(id), trained(id)) for id in ids]
    config = load_config(ROOT / "configs/quickstart.yaml")
    interface = load_task(config.task, config.task_options).interface
    written = write_programs(tmp_path / "best", entries, run_id="r", config=config, task=interface)
    assert [path.name for path in written] == [
        "best_fit.py",
        "seed_best_fit.py",
        "r003p07s012.py",
        "r003p07s012_2.py",
    ]
    assert [path.read_text() for path in written] == [f"source of {id}\n" for id in ids]


def test_programs_are_not_mixed_with_others(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("")
    code, _, err = call(capsys, "export", finished_run, "--programs", tmp_path)
    assert (code, "has other programs (mine.py); take a new folder" in err) == (1, True)
    assert [path.name for path in tmp_path.glob("*.py")] == ["mine.py"]
    assert call(capsys, "export", finished_run, finished_run, "--programs", tmp_path / "new")[0] == 2
    assert call(capsys, "export", finished_run, "--csv", tmp_path / "new", "--keep-weights")[0] == 2


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
    file = tmp_path / "tables" / "out.jsonl"
    assert call(capsys, "export", finished_run, "--jsonl", file) == (0, "", f"wrote {file}\n")
    assert len(file.read_text().splitlines()) == 20
    assert call(capsys, "export", finished_run, "--csv", "-")[2] == ""
    said = call(capsys, "export", finished_run, "--csv", file / "below.csv")[2]
    assert said.startswith(f"error: cannot write {file / 'below.csv'}: ")
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


@pytest.mark.parametrize("options", [("--source", "--log"), ("--json", "--prompt"), ("--diff", "--source")])
def test_show_leaves_none_of_two_wishes_out(
    finished_run: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, str]
) -> None:
    code, out, err = call(capsys, "show", finished_run, "best", *options)
    assert (code, out) == (2, "")
    assert "give one of --source, --log, --prompt, --diff and --json" in err
