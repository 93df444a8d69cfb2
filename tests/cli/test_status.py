from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from support.command_line import call
from support.searching import finish, make_config, measure

from evohpc.report.reader import Reading
from evohpc.run_folder import RunDir
from evohpc.search.search import Search

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")


def test_status_shows_rounds_the_best_and_what_to_do_next(
    finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "status", finished_run)
    best = Search.open(finished_run).best(1)[0].candidate.id
    assert code == 0
    assert "none; the search is over" in out
    assert "16 children" in out
    assert out.count(best) >= 2
    assert err == f"next: evohpc show {finished_run} {best}\n"


def test_status_for_machines(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "status", finished_run, "--json")
    status = json.loads(out)
    assert status["is_done"]
    with Reading(finished_run) as reading:
        results = list(reading.store.every_result())
    assert status["spent"]["evaluation_hours"] == pytest.approx(len(results) / 3600), "a second each"
    assert status["spent"]["cpu_hours"] == pytest.approx(len(results) / 3600)
    assert status["spent"]["gpu_hours"] == 0
    assert status["driver"] == ""
    assert sum(status["counts"].values()) == 16


def test_what_was_spent_is_told_by_stage(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    seconds = {"start": 36, "train": 7200, "predict": 0.0, "score": 90, "total": 7326, "cpu": 9000}
    with closing(sqlite3.connect(RunDir(run).snapshot)) as database, database:
        count = database.execute("UPDATE results SET seconds = ?", [json.dumps(seconds)]).rowcount
        database.execute("PRAGMA user_version = 0")  # no seal, as in 0.1.0: this change is no damage
    times = [{"doing": doing, "seconds": 1800, "ended_at": ""} for doing in ("tuning", "drawing", "drawing")]
    RunDir(run).round(1).lm_times.write_text("".join(json.dumps(line) + "\n" for line in times))
    site = {"evaluation": {"options": {"gpus": 2}}, "lm": {"cpus": 3}}
    RunDir(run).site.write_text(json.dumps(site))
    spent = json.loads(call(capsys, "status", run, "--json")[1])["spent"]
    stages = {name: hours / count for name, hours in spent["evaluation_stages"].items()}
    assert stages == pytest.approx({"start": 0.01, "train": 2, "score": 0.025})
    assert spent["lm_stages"] == {"tuning": 0.5, "drawing": 1}
    assert spent["cpu_hours"] == pytest.approx(count * 7326 / 3600)  # the scripted engine has no jobs
    assert spent["gpu_hours"] == pytest.approx(count * 7326 / 3600 * 2)
    out = call(capsys, "status", run)[1]
    assert f"by stage  start {60 * count / 100:.3g} min, train {2 * count} h" in out
    assert "tuning 30 min, drawing 60 min\n" in out
    assert " GPU-hours\n" in out


def test_status_names_the_living_driver_and_a_search_that_has_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path)) as search:
        assert "its search has not begun" in call(capsys, "status", tmp_path / "run")[2]
        search.ask()
        search.snapshot()
        assert f"process {os.getpid()} on " in call(capsys, "status", tmp_path / "run")[1]
    assert call(capsys, "status", tmp_path / "run")[2] == f"next: evohpc run {tmp_path / 'run'}\n"


def test_watching_ends_when_the_search_is_over(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    once = call(capsys, "status", finished_run)[1]
    assert call(capsys, "status", finished_run, "--watch") == (0, once + "\n", "")


def test_watching_shows_each_change_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    Search.create(run, make_config(tmp_path, "search.rounds=1")).close()

    def go_on() -> None:
        time.sleep(0.2)
        with Search.open(run) as search:
            search.ask()
            search.snapshot()
            time.sleep(0.5)
            finish(search)

    driver = threading.Thread(target=go_on)
    driver.start()
    code, out, _ = call(capsys, "status", run, "--watch", "--every", "0.1", "--json")
    driver.join()
    seen = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [status["is_done"] for status in seen[1:]] == [*[False] * (len(seen) - 2), True]
    assert all(before != after for before, after in itertools.pairwise(seen))
    assert sum(seen[-1]["counts"].values()) == 8


def test_watching_needs_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "status", tmp_path, "--watch")
    assert code == 1
    assert "is no run folder" in err


def test_a_copy_without_a_driver_is_shown(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(finished_run, tmp_path / "copy")
    assert call(capsys, "status", copy)[1] == call(capsys, "status", finished_run)[1]


def test_a_search_that_a_budget_ended_says_so_and_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with Search.create(run, make_config(tmp_path, "search.stop.evaluations=3")) as search:
        finish(search)
    said = "3 of 3 evaluations, in round 0 (search.stop.evaluations)"
    advice = f"next: evohpc run {run} --set search.stop.evaluations=6\n"
    for command in (("status", run), ("status", run, "--watch")):
        code, out, err = call(capsys, *command)
        assert code == 0
        assert f"stopped   {said}\n" in out
        assert err in ("", advice)
    before = (run / "search.db").read_bytes()
    code, _, err = call(capsys, "run", run)
    assert (code, err.splitlines()[-2:]) == (0, [f"stopped: {said}", advice.strip()])
    assert Search.open(run).early_end is not None
    assert json.loads(call(capsys, "status", run, "--json")[1])["stopped"]["reached"] == 3
    with Search.create(run, make_config(tmp_path, "search.stop.evaluations=6")) as search:
        finish(search)
    assert (run / "search.db").read_bytes() != before
    assert "6 of 6 evaluations" in call(capsys, "status", run)[1]
    with Search.create(run, make_config(tmp_path)) as search:
        finish(search)
        assert search.early_end is None
    assert "search.stop" not in call(capsys, "status", run)[1]


def test_a_search_that_goes_on_says_about_what_it_will_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    with Search.create(run, make_config(tmp_path, "evaluation.time_limit_s=60")) as search:
        search.ask()
        search.snapshot()
        assert "estimate" not in call(capsys, "status", run)[1], "nothing was trained"
        for candidate in search.ask():
            search.tell(measure(candidate))
        search.snapshot()
    assert "estimate  20 s evaluating in all, at most 20 min\n" in call(capsys, "status", run)[1], "a second each"
    said = json.loads(call(capsys, "status", run, "--json")[1])["cost"]
    assert said["evaluation_hours"] == pytest.approx(20 / 3600)
    assert said["at_most"]["evaluations"] == 20
