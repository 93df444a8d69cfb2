from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.command_line import call
from support.searching import finish, make_config, measure

from evohpc.config.search import load_resolved
from evohpc.driver import lease
from evohpc.errors import LeaseError, RunFolderError
from evohpc.files import write_atomic
from evohpc.lm import completions_file
from evohpc.messages import Status
from evohpc.run_folder import RunDir
from evohpc.search.rebuild import given_up_for_good, rebuild, retry
from evohpc.search.search import Search
from evohpc.store.store import TABLES, Store

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")


def tables(run: RunDir) -> dict[str, list[dict[str, Any]]]:
    store = Store.snapshot_reader(run.database)
    try:
        return {table: store.rows(table) for table in TABLES}
    finally:
        store.close()


@pytest.fixture
def finished(finished_run: Path, tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(finished_run, tmp_path / "copy")))


def test_a_finished_search_is_rebuilt_row_for_row(finished: RunDir) -> None:
    before = tables(finished)
    finished.database.unlink()
    assert rebuild(finished).rounds == 2
    assert tables(finished) == before
    assert all(rows for table, rows in before.items() if table != "late_candidates")  # driver/test_at_work.py has some


def test_a_damaged_database_is_rebuilt(finished: RunDir) -> None:
    before = tables(finished)
    finished.database.write_bytes(finished.database.read_bytes()[:5000] + b"\0" * 5000)
    with pytest.raises(RunFolderError, match="rebuild"):
        Search.open(finished.path).ask()
    rebuild(finished)
    assert tables(finished) == before


@pytest.mark.parametrize("told", [0, 1, 4, 6, 9])
def test_a_search_is_rebuilt_wherever_it_stands(tmp_path: Path, told: int) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path)) as search:
        for _ in range(told):
            search.tell(measure(search.ask()[0]))
        search.ask()
    run = RunDir(tmp_path / "run")
    before = tables(run)
    assert len(before["results"]) == told
    rebuild(run)
    assert tables(run) == before


def test_the_rebuilt_search_goes_on_to_the_same_end(tmp_path: Path, finished_run: Path) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path)) as search:
        for _ in range(6):
            search.tell(measure(search.ask()[0]))
    run = RunDir(tmp_path / "run")
    rebuild(run)
    with Search.open(run.path) as search:
        finish(search)
    assert tables(run)["candidates"] == tables(RunDir(finished_run))["candidates"]
    assert tables(run)["survivors"] == tables(RunDir(finished_run))["survivors"]


@pytest.mark.parametrize(("while_searching", "afterwards"), [(3, 0), (0, 3)])
def test_retries_that_were_changed_change_no_outcome(tmp_path: Path, while_searching: int, afterwards: int) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path, f"evaluation.retries={while_searching}")) as search:
        unlucky = search.ask()[0]
        search.tell(replace(measure(unlucky), status=Status.LOST, fitness=None, error=None))
        if while_searching:
            search.tell(measure(unlucky, attempt=2))
        finish(search)
    run = RunDir(tmp_path / "run")
    before = tables(run)
    Search.create(run.path, load_resolved(run.config, [f"evaluation.retries={afterwards}"]))
    rebuild(run)
    assert tables(run) == before


def test_retry_gives_the_open_round_another_set_of_attempts(tmp_path: Path) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path, "evaluation.retries=0")) as search:
        first, second, *_ = search.ask()
        search.tell(replace(measure(first), status=Status.NODE_FAIL, fitness=None))
        search.tell(measure(second))
        assert first not in search.ask()
    assert retry(RunDir(tmp_path / "run")) == 1
    with Search.create(tmp_path / "run", make_config(tmp_path, "evaluation.retries=0")) as search:  # the same command
        assert first in search.ask()
        search.tell(measure(first, attempt=2))
        finish(search)


def test_retry_with_nothing_to_retry_changes_no_config(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    with Search.create(run.path, make_config(tmp_path)) as search:
        search.ask()
        before = run.config.read_text()
    assert retry(run) == 0
    with Search.open(run.path) as search:
        finish(search)
    assert retry(run) == 0
    assert run.config.read_text() == before


def test_who_a_machine_failed_in_a_closed_round_is_named_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(tmp_path / "run")
    with Search.create(run.path, make_config(tmp_path, "evaluation.retries=0")) as search:
        for seed in search.ask():
            search.tell(measure(seed))
        unlucky = search.ask()[0]
        search.tell(replace(measure(unlucky), status=Status.NODE_FAIL, fitness=None))
        assert given_up_for_good(run) == []
        finish(search)
    before = tables(run)
    assert given_up_for_good(run) == [unlucky.id]
    said = call(capsys, "retry", run.path)[2]
    assert f"not tried again: 1 of closed rounds ({unlucky.id}), as all rounds since were made without them" in said
    assert f"evohpc show {run.path} {unlucky.id} --source > {unlucky.id}.py" in said
    assert tables(run) == before
    assert "its round has closed, so it gets none" in call(capsys, "why", run.path, unlucky.id)[1]


def test_it_does_not_touch_a_run_that_is_driven(tmp_path: Path) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path)) as search:
        search.ask()
        with pytest.raises(LeaseError, match="already driven"):
            rebuild(RunDir(tmp_path / "run"))


def test_who_is_replaced_while_it_copies_leaves_its_successors_database(
    finished: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    inode, real = finished.database.stat().st_ino, Store.snapshot

    def stands_still(store: Store, target: Path) -> None:
        real(store, target)
        write_atomic(finished.lease / "000099.json", "")  # its successor's
        time.sleep(2 * lease.HEARTBEAT_S)

    monkeypatch.setattr(Store, "snapshot", stands_still)
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.2)
    with pytest.raises(LeaseError, match="another driver has taken over"):
        rebuild(finished)
    assert finished.database.stat().st_ino == inode


def test_a_damaged_request_is_named(finished: RunDir) -> None:
    finished.round(1).request.write_text("{")
    with pytest.raises(RunFolderError, match=r"001/request\.json: .*delete it to have it written anew"):
        rebuild(finished)
    assert tables(finished)["survivors"], "the old database is still there"


@pytest.mark.parametrize("is_in_part", [False, True])
def test_a_round_whose_lm_job_has_not_ended_is_left_to_it(finished: RunDir, is_in_part: bool) -> None:
    round = finished.round(1)
    lines = round.completions.read_bytes().splitlines(keepends=True)
    round.completions.write_bytes(lines[0])
    if is_in_part:
        completions_file.part(round.completions, 1).write_bytes(b"".join(lines[1:]))
    round.survivors.unlink()
    assert rebuild(finished, accept_loss=True).rounds == 1


def held(run: RunDir) -> dict[str, int]:
    return {table: len(rows) for table, rows in tables(run).items() if table != "pool"}


def a_round_is_gone(run: RunDir) -> None:
    shutil.rmtree(run.round(1).path)


def an_archive_is_gone(run: RunDir) -> None:
    run.round(0).archive.unlink()


def the_run_id_was_changed(run: RunDir) -> None:
    run.provenance.write_text(run.provenance.read_text().replace('"run_id": "', '"run_id": "other-'))


def the_rounds_are_gone(run: RunDir) -> None:
    shutil.rmtree(run.rounds)


LOSSES = [a_round_is_gone, an_archive_is_gone, the_run_id_was_changed, the_rounds_are_gone]


@pytest.mark.parametrize("change", [rebuild, retry])
@pytest.mark.parametrize("lose", LOSSES)
def test_a_loss_is_refused_and_changes_nothing(finished: RunDir, lose: Callable[[RunDir], None], change: Any) -> None:
    before, snapshot = tables(finished), finished.snapshot.read_bytes()
    lose(finished)
    with pytest.raises(RunFolderError, match=r"--accept-loss|belongs to run"):
        change(finished)
    assert tables(finished) == before
    assert finished.snapshot.read_bytes() == snapshot
    assert not list(finished.path.glob("**/*search.db*-*")), "nothing is left over"


@pytest.mark.parametrize("lose", [a_round_is_gone, an_archive_is_gone])
def test_a_loss_that_is_accepted_keeps_what_was_there_each_time(finished: RunDir, lose: Any) -> None:
    before = tables(finished)
    lose(finished)
    done = rebuild(finished, accept_loss=True)
    assert done.before == {table: len(rows) for table, rows in before.items() if table != "pool"}
    assert done.after == held(finished)
    assert sum(done.after.values()) < sum(done.before.values())
    assert [path.name for path in done.kept] == ["search.db.kept-1"]
    kept = RunDir(done.kept[0].parent)
    with closing(Store.snapshot_reader(done.kept[0])) as store:
        assert {table: store.rows(table) for table in TABLES} == before
    shutil.rmtree(finished.round(0).path)
    again = rebuild(finished, accept_loss=True)
    assert [path.name for path in again.kept] == ["search.db.kept-2"]
    assert kept.path == finished.path


def test_what_only_the_snapshot_holds_is_no_less_safe(finished: RunDir) -> None:
    before = tables(finished)
    finished.database.unlink()
    a_round_is_gone(finished)
    with pytest.raises(RunFolderError, match=r"snapshots/search\.db holds .* from .*/001 on; nothing was changed"):
        rebuild(finished)
    done = rebuild(finished, accept_loss=True)
    assert done.before is None
    with closing(Store.snapshot_reader(done.kept[0])) as store:
        assert {table: store.rows(table) for table in TABLES} == before


def test_a_driver_that_begins_anew_keeps_the_snapshot_of_what_it_lacks(finished: RunDir, caplog: Any) -> None:
    snapshot = finished.snapshot.read_bytes()
    finished.database.unlink()
    shutil.rmtree(finished.rounds)
    for _ in range(2):
        with Search.open(finished.path) as search:
            assert search.ask()
    assert "is kept as" in caplog.text
    kept = list(finished.snapshot.parent.glob("*.kept-*"))
    assert [path.read_bytes() for path in kept] == [snapshot]


def test_a_rebuilt_database_that_says_the_same_leaves_no_copy(finished: RunDir) -> None:
    assert rebuild(finished).kept == ()
    assert rebuild(finished).before == held(finished)


def test_a_damaged_database_is_kept(finished: RunDir) -> None:
    finished.database.write_bytes(content := finished.database.read_bytes()[:5000])
    done = rebuild(finished)
    assert done.before is None
    assert [path.read_bytes() for path in done.kept] == [content]


def test_the_database_of_another_program_is_not_replaced_unasked(finished: RunDir) -> None:
    finished.database.unlink()
    with closing(sqlite3.connect(finished.database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE theirs (x)")
        connection.execute("INSERT INTO theirs VALUES (42)")
        connection.commit()
        wal = finished.database.with_name("search.db-wal")
        content, log = finished.database.read_bytes(), wal.read_bytes()
        with pytest.raises(RunFolderError, match="is the database of another program; move it away"):
            rebuild(finished)
        assert (finished.database.read_bytes(), wal.read_bytes()) == (content, log)
        done = rebuild(finished, accept_loss=True)
        kept = done.kept
        assert held(finished) == done.after
    with closing(sqlite3.connect(kept[0])) as connection:
        assert connection.execute("SELECT x FROM theirs").fetchall() == [(42,)]


def test_a_request_of_another_run_is_no_child_of_this_one(finished: RunDir) -> None:
    the_run_id_was_changed(finished)
    with pytest.raises(RunFolderError, match="--accept-loss"):
        rebuild(finished)
