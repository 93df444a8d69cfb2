from __future__ import annotations

import base64
import gzip
import json
import re
import socket
from pathlib import Path

import pytest
from support.reporting import candidate, make_run, write
from support.searching import make_config

from evohpc import envelopes
from evohpc.config.site import EvaluationJobs, Site
from evohpc.driver import lease
from evohpc.errors import RunFolderError
from evohpc.files import write_atomic
from evohpc.messages import Result, Status
from evohpc.report.reader import Reading
from evohpc.report.report import report
from evohpc.report.runs import read
from evohpc.run_folder import RunDir
from evohpc.search.search import Search

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")


def test_a_finished_search(finished_run: Path) -> None:
    with Reading(finished_run) as reading:
        assert reading.is_done
        assert reading.task.metric == "val_accuracy"
        assert dict(reading.headlines())["driver"] == "none; the search is over"


def test_what_is_no_run_or_has_not_begun_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is no run folder"):
        Reading(tmp_path)
    Search.create(tmp_path / "run", make_config(tmp_path))
    with pytest.raises(RunFolderError, match=r"has not begun; evohpc run"):
        Reading(tmp_path / "run")
    run_id = Search.create(tmp_path / "run", make_config(tmp_path), site=Site()).run_id
    said = rf"has not begun; evohpc submit /.*/run; .*its job waits: squeue --name=evohpc-{run_id}$"
    with pytest.raises(RunFolderError, match=said):
        Reading(tmp_path / "run")
    RunDir(tmp_path / "run").driver_log.write_text("~/venv/bin/python: No such file or directory")
    with pytest.raises(RunFolderError, match=r"has not begun; its driver's job printed /.*/run/driver\.log"):
        Reading(tmp_path / "run")


def test_a_node_that_new_arrays_exclude_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, 4, rounds=1)
    lost = [
        (
            candidate(f"r000p00s{n:03}", str(n), round=0),
            Result(f"r000p00s{n:03}", 1, Status.LOST, host="n13", finished_at=f"2026-11-26T10:00:0{n}+00:00"),
        )
        for n in range(3)
    ]
    write(run, lost)
    for site, excluded in [(None, False), (Site(), True), (Site(evaluation=EvaluationJobs(exclude_after=0)), False)]:
        if site is not None:
            write_atomic(RunDir(run).site, site.dump())
        said = (
            "n13: its last 3 attempts were the machine's fault (until 2026-11-26T10:00:02+00:00); new arrays exclude it"
        )
        node = {"name": "n13", "faults": 3, "last": "2026-11-26T10:00:02+00:00"}
        with Reading(run) as reading:
            assert dict(reading.headlines()).get("node") == (said if excluded else None)
            assert reading.status()["faulty_nodes"] == ([node] if excluded else [])
        packed = re.search(r'id="data"[^>]*>([^<]+)<', report(read(run)))
        assert packed
        told = dict(json.loads(gzip.decompress(base64.b64decode(packed[1])))["provenance"]).get("nodes excluded", "")
        assert told.startswith("n13 (3): attempts in a row") == excluded


@pytest.fixture
def begun(tmp_path: Path) -> RunDir:
    with Search.create(tmp_path / "run", make_config(tmp_path)) as search:
        search.ask()
    return RunDir(tmp_path / "run")


def test_a_driver_on_another_host_is_believed(begun: RunDir) -> None:
    path = max(begun.lease.glob("*.json"))
    elsewhere = {**json.loads(path.read_text()), "released": False, "host": "n42", "slurm_job_id": "7"}
    write_atomic(path, envelopes.encode(elsewhere))
    with Reading(begun.path) as reading:
        assert "on n42, Slurm job 7" in dict(reading.headlines())["driver"]
        assert "list" in reading.advice()


def test_a_dead_driver_on_this_host_is_none(begun: RunDir) -> None:
    path = max(begun.lease.glob("*.json"))
    dead = {**json.loads(path.read_text()), "released": False, "host": socket.gethostname(), "started": 1}
    write_atomic(path, envelopes.encode(dead))
    assert lease.holder(begun) is not None
    with Reading(begun.path) as reading:
        said = dict(reading.headlines())["driver"]
        assert said.startswith(f"none; the last one, process {dead['pid']} on ")
        assert said.endswith("ended without a word (killed, or out of memory)")
        assert reading.advice() == f"evohpc run {begun.path}"


@pytest.mark.parametrize("note", ["{", "[1]", '{"round": 1}', '{"round": "one", "rounds": 2}'])
def test_a_note_of_the_driver_that_says_nothing_is_left_out(begun: RunDir, note: str) -> None:
    write_atomic(begun.progress, note)
    with Reading(begun.path) as reading:
        assert "last seen" not in dict(reading.headlines())
        assert reading.status()["progress"] is None


def test_why_jobs_wait_is_shown(begun: RunDir) -> None:
    said = {"round": 0, "rounds": 2, "step": "evaluate", "done": 1, "total": 8, "at": "now", "held": ["QOSLimit"]}
    write_atomic(begun.progress, json.dumps(said))
    with Reading(begun.path) as reading:
        lines = dict(reading.headlines())
    assert lines["held"] == "QOSLimit"
    assert lines["last seen"] == "now: round 0 (of 0-1), evaluate 1/8"


@pytest.mark.parametrize("damage", ["", "[]", "{"])
def test_a_damaged_progress_file_is_no_obstacle(begun: RunDir, damage: str) -> None:
    begun.progress.write_text(damage)
    with Reading(begun.path) as reading:
        assert "last seen" not in dict(reading.headlines())
