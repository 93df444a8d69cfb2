import os
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest
from support.driving import RUN_ID

from evohpc.driver.dispatch import Dispatch, next_attempts
from evohpc.envelopes import seal, unseal
from evohpc.errors import LeaseError, RunFolderError
from evohpc.files import write_atomic
from evohpc.messages import Attempt, EvaluationJob, Result, Status, TaskReport, TaskState
from evohpc.run_folder import RoundDir, RunDir

ENDED = TaskReport(TaskState.ENDED, Status.NODE_FAIL, "node n3 died", "n3")
WAITING, RUNNING = TaskReport(TaskState.WAITING), TaskReport(TaskState.RUNNING)


class Recorder:
    """A `JobRunner` that does nothing and says what the test tells it."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self.submitted: list[tuple[str, int]] = []
        self.asked: list[set[str]] = []
        self.reports: dict[str, Sequence[TaskReport]] = {}

    def submit(self, job: EvaluationJob) -> None:
        path = self._run.round(job.round).job(job.name)
        assert unseal(path.read_bytes(), RUN_ID, EvaluationJob) == job  # it is on disk before the runner hears of it
        self.submitted.append((job.name, len(job.tasks)))

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        self.asked.append(set(sizes))
        return {name: self.reports.get(name, [WAITING] * size) for name, size in sizes.items()}

    def cancel(self, names: Collection[str]) -> None:
        raise AssertionError("a dispatch cancels nothing")

    def close(self) -> None:
        raise AssertionError("a dispatch closes nothing")


@pytest.fixture
def folder(tmp_path: Path) -> RoundDir:
    return RunDir(tmp_path).round(3)


def recorder(dispatch: Dispatch) -> Recorder:
    assert isinstance(dispatch.runner, Recorder)
    return dispatch.runner


class Make(Protocol):
    def __call__(self, per_task: int = 1, grace_s: float = 0.0, epoch: int = 1) -> Dispatch: ...


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def dispatch(per_task: int = 1, grace_s: float = 0.0, epoch: int = 1) -> Dispatch:
        return Dispatch(RunDir(tmp_path), RUN_ID, epoch, 3, Recorder(RunDir(tmp_path)), per_task, grace_s)

    return dispatch


def first(*names: str) -> list[Attempt]:
    return [Attempt(name, 1) for name in names]


def job(folder: RoundDir, number: int) -> EvaluationJob:
    return unseal(folder.job(f"{RUN_ID}-003-{number:02d}").read_bytes(), RUN_ID, EvaluationJob)


def lost(name: str, attempt: int) -> Result:
    return Result(name, attempt, Status.LOST)


def test_attempts_are_packed_into_tasks_in_order(make: Make, folder: RoundDir) -> None:
    dispatch = make(per_task=2)
    dispatch.hand_out(first("a", "b", "c"))
    assert job(folder, 0).tasks == ((Attempt("a", 1), Attempt("b", 1)), (Attempt("c", 1),))
    assert recorder(dispatch).submitted == [("run-1-003-00", 2)]


def test_later_attempts_go_alone(make: Make, folder: RoundDir) -> None:
    dispatch = make(per_task=3)
    dispatch.hand_out([Attempt("a", 2), Attempt("b", 1), Attempt("c", 3), Attempt("d", 1)])
    assert [[a.candidate_id for a in task] for task in job(folder, 0).tasks] == [["b", "d"], ["a"], ["c"]]


def test_what_is_handed_out_is_not_handed_out_again(make: Make, folder: RoundDir) -> None:
    dispatch = make()
    for names in (["a"], ["a", "b"], ["a", "b"]):
        dispatch.hand_out(first(*names))
    assert recorder(dispatch).submitted == [("run-1-003-00", 1), ("run-1-003-01", 1)]
    assert job(folder, 1).tasks == ((Attempt("b", 1),),)


def test_a_restarted_driver_offers_the_unfinished_again_under_the_same_name(make: Make) -> None:
    make(per_task=2).hand_out(first("a", "b", "c"))
    again = make(epoch=2)
    again.resume({"b": [lost("b", 1)]}, ["b", "c"])
    again.hand_out([Attempt("b", 2), Attempt("c", 1)])
    assert recorder(again).submitted == [("run-1-003-00", 2), ("run-1-003-01", 1)]


def test_a_restarted_driver_does_not_offer_what_is_over(make: Make) -> None:
    make().hand_out(first("a", "b"))
    again = make(epoch=2)
    again.resume({"a": [lost("a", 1)]}, ["a"])
    assert recorder(again).submitted == []
    again.hand_out([Attempt("a", 2)])
    assert recorder(again).submitted == [("run-1-003-01", 1)]


def test_names_are_never_used_twice_whatever_was_deleted(make: Make, folder: RoundDir) -> None:
    dispatch = make()
    for name in "abc":
        dispatch.hand_out(first(name))
    folder.job("run-1-003-01").unlink()
    again = make(epoch=2)
    again.resume({}, ["a", "c"])
    again.hand_out(first("b"))
    assert recorder(again).submitted[-1] == ("run-1-003-03", 1)


def test_a_deposed_driver_does_not_overwrite_what_its_successor_handed_out(make: Make, folder: RoundDir) -> None:
    deposed = make()
    successor = make(epoch=2)
    successor.hand_out(first("a", "b"))
    before = folder.job("run-1-003-00").read_bytes()
    with pytest.raises(LeaseError, match="another driver has taken over"):
        deposed.hand_out(first("a"))
    assert folder.job("run-1-003-00").read_bytes() == before
    assert recorder(deposed).submitted == []


def test_an_altered_job_is_named(make: Make, folder: RoundDir) -> None:
    make().hand_out(first("a"))
    path = folder.job("run-1-003-00")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RunFolderError, match=f"{path}: not JSON: torn or altered; delete it if no job of that name"):
        make().resume({}, ["a"])


def test_a_job_under_way_is_ignored(make: Make, folder: RoundDir) -> None:
    write_atomic(folder.jobs / ".tmp-x.json", "{")
    make().resume({}, ["a"])


def test_only_unfinished_arrays_are_asked_for(make: Make) -> None:
    dispatch = make()
    dispatch.poll()
    assert recorder(dispatch).asked == []
    dispatch.hand_out(first("a"))
    dispatch.hand_out(first("b", "c"))
    dispatch.record([lost("a", 1), lost("b", 1)])
    dispatch.poll()
    assert recorder(dispatch).asked == [{"run-1-003-01"}]
    dispatch.record([lost("c", 1)])
    dispatch.poll()
    assert len(recorder(dispatch).asked) == 1


def buried(folder: RoundDir) -> dict[str, Result]:
    names = os.listdir(folder.results) if folder.results.is_dir() else []
    return {name: unseal((folder.results / name).read_bytes(), RUN_ID, Result) for name in names}


def test_an_attempt_that_ended_without_a_result_is_the_machines_fault(make: Make, folder: RoundDir) -> None:
    dispatch = make(per_task=2)
    dispatch.hand_out(first("a", "b", "c", "d"))
    recorder(dispatch).reports["run-1-003-00"] = [ENDED, RUNNING]
    dispatch.poll()
    dispatch.record([lost("a", 1)])
    dispatch.mark_lost()
    found = buried(folder)
    assert set(found) == {"b.1.json"}
    result = found["b.1.json"]
    assert (result.status, result.detail, result.host) == (Status.NODE_FAIL, "node n3 died", "n3")
    assert result.finished_at.endswith("+00:00")


def test_a_result_that_turns_up_late_wins(make: Make, folder: RoundDir) -> None:
    dispatch = make()
    dispatch.hand_out(first("a"))
    recorder(dispatch).reports["run-1-003-00"] = [ENDED]
    dispatch.poll()
    late = Result("a", 1, Status.TRAINED, fitness=-1.0)
    write_atomic(folder.result("a", 1), seal(RUN_ID, 1, late))
    dispatch.mark_lost()
    assert buried(folder) == {"a.1.json": late}


def test_results_may_appear_within_the_grace_period(
    make: Make, folder: RoundDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    dispatch = make(grace_s=60)
    dispatch.hand_out(first("a"))
    for seconds, report, over in [(0, RUNNING, 0), (10, ENDED, 0), (69, ENDED, 0), (71, ENDED, 1)]:
        now[0] = 100.0 + seconds
        recorder(dispatch).reports["run-1-003-00"] = [report]
        dispatch.poll()
        dispatch.mark_lost()
        assert len(buried(folder)) == over
    ended = datetime.fromisoformat(buried(folder)["a.1.json"].finished_at)
    assert 50 < (datetime.now(UTC) - ended).total_seconds() < 200, "when it was seen to end, not when it was given up"


def test_the_grace_period_starts_again_if_a_task_does(
    make: Make, folder: RoundDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm requeues: NODE_FAIL, then PENDING under the same id."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    dispatch = make(grace_s=60)
    dispatch.hand_out(first("a"))
    for seconds, report in [(0, ENDED), (50, WAITING), (55, ENDED), (70, ENDED)]:
        now[0] = 100.0 + seconds
        recorder(dispatch).reports["run-1-003-00"] = [report]
        dispatch.poll()
        dispatch.mark_lost()
    assert buried(folder) == {}


def test_why_tasks_are_held_is_told_once_each(make: Make) -> None:
    dispatch = make()
    dispatch.hand_out(first("a", "b", "c"))
    held = [TaskReport(TaskState.HELD, reason=reason) for reason in ("QOSLimit", "Account", "QOSLimit")]
    recorder(dispatch).reports["run-1-003-00"] = held
    dispatch.poll()
    assert dispatch.held == ["Account", "QOSLimit"]
    recorder(dispatch).reports["run-1-003-00"] = [RUNNING] * 3
    dispatch.poll()
    assert dispatch.held == []


def test_each_pending_candidate_is_due_its_next_attempt() -> None:
    attempted = {"b": [lost("b", 1), lost("b", 2)], "a": []}
    assert next_attempts(["c", "b", "a"], attempted) == [Attempt("a", 1), Attempt("b", 3), Attempt("c", 1)]
