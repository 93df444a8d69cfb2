"""What of an array task is evaluated, and what an evaluation is told of the next."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.evaluating import RUN_ID, make_run

from evohpc import envelopes, files
from evohpc.errors import EvaluationError, StorageError
from evohpc.evaluation import orders
from evohpc.evaluation.orders import KeepLog, TaskOrder, attempts_of, evaluate_task, refuse, without_result
from evohpc.evaluation.provenance import provenance
from evohpc.files import write_atomic, write_once
from evohpc.messages import Attempt, EvaluationJob, Result, Status
from evohpc.run_folder import RunDir

IDS = ("first", "done", "second", "done too")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run with an array task of four attempts, two of which have their results."""
    run = make_run(tmp_path / "run")
    folder = run.round(3)
    for id in IDS:
        write_atomic(folder.candidate(id), "")
    job = EvaluationJob("j", 3, (tuple(Attempt(id, 2) for id in IDS),))
    write_atomic(folder.job(job.name), envelopes.seal(RUN_ID, 9, job))
    for id in ("done", "done too"):
        write_once(folder.result(id, 2), b"")
    return run


class Noted:
    """An evaluation that notes whom it was given, and whether another one follows."""

    def __init__(self) -> None:
        self.told: dict[str, bool] = {}

    def __call__(self, attempt: Attempt, source: bytes, keep_log: KeepLog, *, is_followed: bool) -> Result:
        self.told[attempt.candidate_id] = is_followed
        return Result(attempt.candidate_id, attempt.attempt, Status.TIMEOUT, "", **provenance(source, {}))


def test_a_whole_task_is_what_has_no_result_yet_and_each_is_told_whether_another_follows(run: RunDir) -> None:
    noted = Noted()
    evaluate_task(run, TaskOrder(3, "j", 0), noted)
    assert noted.told == {"first": True, "second": False}


@pytest.mark.parametrize("is_followed", [True, False])
def test_one_attempt_alone_is_told_what_the_order_says(run: RunDir, is_followed: bool) -> None:
    noted = Noted()
    for index in (1, 2):
        evaluate_task(run, TaskOrder(3, "j", 0, only=index, is_followed=is_followed), noted)
    assert noted.told == {"second": is_followed}, "the other one has a result"
    assert not run.round(3).result("first", 2).exists()


def test_the_attempts_of_a_task_and_those_that_are_open(run: RunDir) -> None:
    attempts = attempts_of(run, TaskOrder(3, "j", 0))
    assert [attempt.candidate_id for attempt in attempts] == list(IDS)
    assert without_result(run.round(3), attempts) == [0, 2]


def test_of_a_round_that_is_over_there_is_nothing_to_do(run: RunDir) -> None:
    run.round(3).job("j").unlink()
    with pytest.raises(FileNotFoundError):
        attempts_of(run, TaskOrder(3, "j", 0))
    run.round(3).archive.write_bytes(b"")
    assert attempts_of(run, TaskOrder(3, "j", 0)) == ()


def test_a_refusal_is_the_machine_s_fault_in_each_attempt_that_has_no_result(run: RunDir) -> None:
    refuse(run, TaskOrder(3, "j", 0), EvaluationError("no room here"))
    for id in ("first", "second"):
        result = envelopes.unseal(run.round(3).result(id, 2).read_bytes(), RUN_ID, Result)
        assert (result.status, result.detail) == (Status.CONTAINER_ERROR, "no room here")
    assert run.round(3).result("done", 2).read_bytes() == b""


@pytest.mark.parametrize("refused", ["logs", "results"])
def test_a_file_system_that_refuses_for_a_moment_costs_no_result(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def evaluate(attempt: Attempt, source: bytes, keep_log: KeepLog, *, is_followed: bool) -> Result:
        keep_log(b"said")
        return Result(attempt.candidate_id, attempt.attempt, Status.TIMEOUT, "", **provenance(source, {}))

    def refuse_once(path: Path, data: bytes) -> None:
        if refusals:
            raise refusals.pop()
        write(path, data)

    name, refusals = {"logs": "write_atomic", "results": "write_once"}[refused], [StorageError("over quota")]
    write = getattr(files, name)
    monkeypatch.setattr(orders, name, refuse_once)
    monkeypatch.setattr(orders, "RETRY_EVERY_S", 0.0)
    evaluate_task(run, TaskOrder(3, "j", 0), evaluate)
    assert not refusals
    for id in ("first", "second"):
        assert envelopes.unseal(run.round(3).result(id, 2).read_bytes(), RUN_ID, Result).status is Status.TIMEOUT


def test_a_file_system_that_goes_on_refusing_has_the_next_one_tried(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, data: bytes) -> bool:
        raise StorageError("full")

    noted = Noted()
    monkeypatch.setattr(orders, "write_once", refuse)
    monkeypatch.setattr(orders, "PATIENCE_S", 0.0)
    evaluate_task(run, TaskOrder(3, "j", 0), noted)
    assert list(noted.told) == ["first", "second"]
