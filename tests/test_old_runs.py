"""Run folders that evohpc 0.1.0 made are read, gone on with and rebuilt to the rows that 0.1.0 itself made of them.

But for the names that 0.1.0 itself wrote down, only the command line, the files and SQLite are used, so nothing here
depends on where a module lies. `fixtures/runs_0.1.0/make.sh` made the runs; `expected.json` is what 0.1.0 said of each.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import pickletools
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.paths import TESTS

from evohpc import evaluate
from evohpc.config.task_name import TaskName
from evohpc.evaluation import worker
from evohpc.jobs import array_task
from evohpc.tasks.base import load_task

RUNS = TESTS / "fixtures/runs_0.1.0"
Tables = dict[str, list[list[Any]]]

UNSTEADY = {"seconds", "isolation", "host", "versions", "finished_at"}
"""Columns of `results` that depend on when and where a candidate was evaluated. All others are the same everywhere."""


class OldRun:
    """A copy of a fixture, and what 0.1.0 made of it."""

    def __init__(self, name: str, folder: Path) -> None:
        with tarfile.open(RUNS / name / "run.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        self.path = folder / name
        self.expected = json.loads((RUNS / name / "expected.json").read_text())

    def evohpc(self, command: str, *arguments: str) -> str:
        """Run a command on the run; return its stdout."""
        done = python("-m", "evohpc", command, str(self.path), *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tables(self, database: str = "search.db") -> Tables:
        with closing(sqlite3.connect(f"{(self.path / database).as_uri()}?mode=ro", uri=True)) as db:
            return {
                name: sorted(map(list, db.execute(f"SELECT {', '.join(columns)} FROM {name}")), key=lambda r: r[:2])
                for name, columns in self.expected["columns"].items()
            }

    def steady(self, tables: Tables) -> Tables:
        kept = [name not in UNSTEADY for name in self.expected["columns"]["results"]]
        rows = [[value for value, keep in zip(row, kept, strict=True) if keep] for row in tables["results"]]
        steady = {**tables, "results": rows}
        return {name: [[without_line(value) for value in row] for row in rows] for name, rows in steady.items()}

    def check_end(self, state: str) -> None:
        """See that it has the rows of a state that 0.1.0 brought it to, and of those before it each to the letter."""
        tables, expected = self.tables(), self.expected[state]
        assert self.steady(tables) == self.steady(expected)
        before = {tuple(row[:2]): row for row in self.expected["opened"]["tables"]["results"]}
        assert {tuple(r[:2]): r for r in tables["results"] if tuple(r[:2]) in before} == before
        assert self.tables("snapshots/search.db") == tables


def without_line(value: Any) -> Any:
    """Return a text without the line of the task, which 0.1.0 did not say."""
    return re.sub(r" \(line \d+ of the task\)$", "", value) if isinstance(value, str) else value


def python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", *arguments], capture_output=True, text=True, timeout=240, **options)


@pytest.fixture
def finished(tmp_path: Path) -> OldRun:
    return OldRun("finished", tmp_path)


@pytest.fixture
def interrupted(tmp_path: Path) -> OldRun:
    return OldRun("interrupted", tmp_path)


@pytest.mark.parametrize("name", [pytest.param("finished", marks=pytest.mark.slow), "interrupted"])
def test_an_old_run_is_read(name: str, tmp_path: Path) -> None:
    run = OldRun(name, tmp_path)
    expected = run.expected["opened"]
    status = json.loads(run.evohpc("status", "--json"))
    expected["status"]["task"] = f"{run.path.resolve()}/task.py:Counting"  # it names where the run lies now
    failure = status["progress"].pop("failure") if status["progress"] else ""  # 0.1.0 did not say why a driver died
    assert failure == ""
    assert {key: status[key] for key in expected["status"]} == expected["status"]
    listed = [json.loads(line) for line in run.evohpc("list", "--json").splitlines()]
    assert [{key: new[key] for key in old} for new, old in zip(listed, expected["list"], strict=True)] == expected[
        "list"
    ]
    new, old = (
        list(csv.DictReader(io.StringIO(text))) for text in (run.evohpc("export", "--csv", "-"), expected["csv"])
    )
    assert [{key: row[key] for key in old[0]} for row in new] == old
    assert run.tables() == run.tables("snapshots/search.db") == expected["tables"]


@pytest.mark.parametrize("has_lost_its_database", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("name", ["finished", "interrupted"])
def test_an_old_run_is_rebuilt_row_for_row(name: str, has_lost_its_database: bool, tmp_path: Path) -> None:
    run = OldRun(name, tmp_path)
    if has_lost_its_database:
        (run.path / "search.db").unlink()
    run.evohpc("rebuild")
    assert run.tables() == run.tables("snapshots/search.db") == run.expected["opened"]["tables"]


def test_a_finished_old_run_stays_as_it_is(finished: OldRun) -> None:
    finished.evohpc("run")
    assert finished.tables() == finished.expected["opened"]["tables"]


@pytest.mark.parametrize("command", ["run", "rebuild", "status"])
def test_what_a_newer_evohpc_went_on_with_is_refused_in_a_sentence(command: str, finished: OldRun) -> None:
    databases = [finished.path / name for name in ("search.db", "snapshots/search.db")]
    for path in databases:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE _sqlite_migrations SET name = 'm009_later'")
    before = [path.read_bytes() for path in databases]
    done = python("-m", "evohpc", command, str(finished.path))
    assert done.returncode == 1
    sentence = r"error: \S+search.db was written by a newer evohpc \(m009_later\); use that one\n"
    assert re.fullmatch(sentence, done.stderr)
    assert [path.read_bytes() for path in databases] == before


@pytest.mark.slow
def test_a_finished_old_run_gets_another_round(finished: OldRun) -> None:
    finished.evohpc("run", "--set", "search.rounds=3")
    finished.check_end("extended")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["stopped", "killed", "rebuilt"])
def test_an_interrupted_old_run_goes_on_to_the_same_end(way: str, interrupted: OldRun) -> None:
    if way == "killed":
        declare_killed(interrupted.path)
    elif way == "rebuilt":
        interrupted.evohpc("rebuild")
    interrupted.evohpc("run")
    interrupted.check_end("resumed")
    interrupted.evohpc("rebuild")
    interrupted.check_end("resumed")


@pytest.mark.slow
def test_the_config_of_an_old_run_is_accepted_again(interrupted: OldRun) -> None:
    again = interrupted.path.parent / "again"
    shutil.copytree(interrupted.path / "seeds", again / "seeds")
    for name in ("config.yaml", "task.py"):
        shutil.copy(interrupted.path / name, again)
    interrupted.evohpc("run", str(again / "config.yaml"))
    interrupted.check_end("resumed")


@pytest.mark.slow
def test_an_array_task_that_0_1_0_handed_to_slurm_runs(interrupted: OldRun) -> None:
    job = json.loads((RUNS / "in_flight" / "job.json").read_text())
    folder = interrupted.path / "rounds" / "001" / "slurm" / job["name"] / "0"
    folder.mkdir(parents=True)
    for name in ("task.pkl", "array.sh", "job_id"):
        shutil.copy(RUNS / "in_flight" / name, folder)
    shutil.copy(RUNS / "in_flight" / "plan.json", folder.parent)
    index = job["waiting_tasks"][-1]
    (attempt,) = job["tasks"][index]
    result = interrupted.path / "rounds" / "001" / "results" / f"{attempt['candidate_id']}.{attempt['attempt']}.json"
    assert not result.exists()

    work_as_slurm_does(folder, "4711", index)

    finished_at = json.loads(result.read_text())["payload"]["finished_at"]
    interrupted.evohpc("run")
    interrupted.check_end("resumed")
    counted = [row for row in interrupted.tables()["results"] if row[0] == attempt["candidate_id"]]
    assert [row[-1] for row in counted] == [finished_at]


def test_the_pickle_of_0_1_0_names_functions_of_evohpc() -> None:
    """What any later evohpc must find under these names; a pickle that a later one made might not show it."""
    words = [
        arg for _, arg, _ in pickletools.genops((RUNS / "in_flight" / "task.pkl").read_bytes()) if isinstance(arg, str)
    ]
    names = list(itertools.pairwise(words))
    assert ("evohpc.jobs.array_task", "run") in names
    assert ("evohpc.evaluate", "run_array_task") in names
    assert evaluate.run_array_task is worker.run_array_task
    assert callable(array_task.run)


def test_a_task_file_that_imports_from_the_records_of_0_1_0_is_loaded(tmp_path: Path) -> None:
    source = (RUNS / "own_task" / "counting.py").read_text()
    new, old = "from evohpc import Score, Splits, TaskInterface", "from evohpc.records import TaskInterface"
    assert new in source
    path = tmp_path / "counting_of_old.py"
    path.write_text(source.replace(new, f"from evohpc.tasks.base import Score, Splits\n{old}"))
    assert load_task(TaskName("Counting", path), {"factor": 3}).interface.name == "counting"


def declare_killed(run: Path) -> None:
    """Have the last driver of a run look like one that was killed on this host: its lease is there, its process not."""
    lease = max((run / "lease").glob("*.json"))
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    here = {"host": socket.gethostname(), "boot_id": f"{boot} {os.readlink('/proc/self/ns/pid')}"}
    dead = {"released": False, "pid": os.getpid(), "started": 1}
    lease.write_text(json.dumps({**json.loads(lease.read_text()), **here, **dead}))


def work_as_slurm_does(folder: Path, job_id: str, index: int) -> None:
    """Do what array.sh does for one task. The pickle names the run's folder by a relative path."""
    (folder / f"{job_id}_{index}_submitted.pkl").symlink_to("task.pkl")
    slurm = {"SLURM_JOB_ID": job_id, "SLURM_ARRAY_JOB_ID": job_id, "SLURM_ARRAY_TASK_ID": str(index)}
    environment = {**os.environ, "SUBMITIT_EXECUTOR": "slurm", **slurm}
    work = folder.parents[5]  # above the run
    done = python("-u", "-m", "submitit.core._submit", str(folder), env=environment, cwd=work)
    assert done.returncode == 0, done.stderr
