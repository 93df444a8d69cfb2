from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from support.command_line import call
from support.reporting import make_run
from support.rows import candidate, trained

import evohpc
from evohpc import envelopes
from evohpc.evaluation.curve import Curve, Measured
from evohpc.messages import Status
from evohpc.report import curves
from evohpc.run_folder import RunDir
from evohpc.store.rows import Entry

CURVE = ((0.0, 0.9), (100.0, 0.2), (200.0, 0.3))


def keep(run: RunDir, id: str, attempt: int, curve: Curve, run_id: str = "r") -> None:
    path = run.round(0).result(id, attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(envelopes.seal(run_id, 1, Measured(**asdict(trained(id, attempt)), curve=curve)))


def entry(id: str, attempt: int = 1, status: Status = Status.TRAINED) -> Entry:
    return Entry(candidate(id, round=0, status=status), replace(trained(id), attempt=attempt))


def test_the_last_training_that_tells_is_shown(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    keep(run, "a", 1, CURVE[:2])
    keep(run, "a", 2, CURVE)
    keep(run, "a", 3, ())  # the mean of both
    assert curves.curve_of(run, "r", entry("a", 3)) == CURVE
    assert curves.curve_of(run, "r", entry("a", 1)) == CURVE[:2]


@pytest.mark.parametrize("fault", ["none", "torn", "of another run"])
def test_what_cannot_be_trusted_is_no_curve(fault: str, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    if fault != "none":
        keep(run, "a", 1, CURVE, "another" if fault == "of another run" else "r")
    if fault == "torn":
        path = run.round(0).result("a", 1)
        path.write_bytes(path.read_bytes()[:-9])
    assert curves.curve_of(run, "r", entry("a")) == ()
    assert curves.curve_of(run, "r", entry("e\0")) == ()


def test_who_was_dropped_has_a_curve_and_who_failed_has_not(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    entries = [entry("a"), entry("b", 2, Status.DROPPED), entry("c", 1, Status.TIMEOUT), Entry(candidate("d"), None)]
    for one in entries:
        keep(run, one.id, 1, CURVE)
    assert dict(curves.curves(run, "r", entries)) == {0: CURVE, 1: CURVE}


def test_many_curves_share_their_steps_and_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    long = tuple((float(step), 0.123456 / (1 + step)) for step in range(100))
    packed = curves.packed(dict.fromkeys(range(50), long))
    assert packed["errors"][49][:3] == [0, 0.1235, 0.06173]
    assert packed["steps"] == [tuple(float(step) for step in range(100))]
    monkeypatch.setattr(curves, "MOST", 1000)
    thin = curves.packed(dict.fromkeys(range(50), long))
    assert len(thin["steps"]) == 1
    assert len(thin["steps"][0]) == len(thin["errors"][0]) - 1 == 19  # of 20: the least is the last, too


def test_an_error_of_0_has_a_place_on_a_log_axis() -> None:
    assert curves.floor({0: ((0.0, 0.0), (1.0, 0.5))}) == 0.25
    assert curves.floor({0: ((0.0, 0.0), (1.0, 0.0))}) == curves.floor({}) == 0.5


def test_a_curve_in_words() -> None:
    assert curves.in_words(CURVE) == "error 0.9 at step 0, least 0.2 at 100, 0.3 at 200"
    assert curves.in_words(()) == ""


def test_the_training_of_a_candidate_is_shown_and_loaded(
    tmp_path: Path, made_once: None, unsynced: None, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pandas", reason="pip install 'evohpc[report]'")
    run = make_run(tmp_path, 30, rounds=2, points=5)
    code, out, _ = call(capsys, "show", run, "best")
    assert code == 0
    assert "training" in out
    assert "error" in out.split("training")[1]
    loaded = evohpc.load(run, curves=True)
    counted = loaded.curves.groupby("id").size()
    assert set(counted) == {5}
    assert set(counted.index) == set(loaded.candidates.query("outcome == 'trained'")["id"])
    least = loaded.curves.groupby("id")["error"].min()
    found = loaded.candidates.set_index("id")["error"].reindex(least.index)
    assert (least >= found).all()
    assert len(evohpc.load(run).curves) == 0
    shutil.copy(RunDir(run).snapshot, tmp_path / "alone.db")
    assert len(evohpc.load(tmp_path / "alone.db", curves=True).curves) == 0
