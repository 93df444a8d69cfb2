from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from support.rows import candidate, trained

from evohpc.messages import Status
from evohpc.report import logs
from evohpc.run_folder import RunDir
from evohpc.store.rows import Entry


def entry(name: str, round: int = 0, fitness: float | None = -5.0) -> Entry:
    status = Status.TRAINED if fitness is not None else Status.TIMEOUT
    return Entry(candidate(name, round=round), trained(name, status=status, fitness=fitness))


def test_the_end_of_a_log_is_found_wherever_it_lies(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    open_log = run.round(1).log("b", 1)
    open_log.parent.mkdir(parents=True)
    open_log.write_bytes(b"x" * 5000 + b"the end \xff\n")
    run.round(0).path.mkdir(parents=True)
    with zipfile.ZipFile(run.round(0).archive, "w") as archive:
        archive.writestr("logs/a.1.log", "packed")
    entries = [entry("a"), entry("b", 1), entry("c", 1), Entry(candidate("d"), None), entry("e\0", 1)]
    found = logs.tails(run, entries)
    assert found[0] == "packed"
    assert found[1] == "x" * (logs.TAIL - 9) + "the end \ufffd"
    assert found.keys() == {0, 1}


def test_failures_come_first_where_all_would_be_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(tmp_path)
    run.round(0).logs.mkdir(parents=True)
    entries = [entry("a", fitness=-9), entry("b", fitness=-1), entry("c", fitness=None)]
    for one in entries:
        run.round(0).log(one.id, 1).write_text("12345")
    monkeypatch.setattr(logs, "MOST", 6)
    assert logs.tails(run, entries).keys() == {1, 2}


def test_the_archive_of_a_round_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, opened = RunDir(tmp_path), list[object]()
    run.round(0).path.mkdir(parents=True)
    with zipfile.ZipFile(run.round(0).archive, "w") as archive:
        for name in "abc":
            archive.writestr(f"logs/{name}.1.log", name)

    class Counted(zipfile.ZipFile):
        def __init__(self, file: Path) -> None:
            opened.append(file)
            super().__init__(file)

    monkeypatch.setattr(zipfile, "ZipFile", Counted)
    assert logs.tails(run, [entry(name) for name in "abc"]) == {0: "a", 1: "b", 2: "c"}
    assert opened == [run.round(0).archive]


def test_a_damaged_archive_is_no_fault(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.round(0).path.mkdir(parents=True)
    run.round(0).archive.write_bytes(b"PK\x03\x04 torn")
    assert logs.tails(run, [entry("a")]) == {}
