from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.driving import CONFIG, Driving, InstantRunner, Tables, drive, make_run, measure, tables
from support.killing import Killed, declare_dead, mortal

from evohpc.driver import stopper
from evohpc.driver.clock import Clock
from evohpc.errors import LeaseError, StorageError
from evohpc.evolution.stopping import EarlyEnd
from evohpc.lm_job.scripted import ScriptedLMJob
from evohpc.messages import SEED_ROUND, Attempt, EvaluationJob, Result, Status, TaskReport, TaskState
from evohpc.run_folder import RunDir

pytestmark = pytest.mark.usefixtures("unsynced")


def with_stop(run: RunDir, **stop: float | None) -> RunDir:
    """Give a run these budgets."""
    document = yaml.safe_load(run.config.read_text())
    document["search"]["stop"] = stop
    run.config.write_text(yaml.safe_dump(document))
    return run


def budgeted(path: Path, **stop: float | None) -> RunDir:
    return with_stop(make_run(path, CONFIG), **stop)


def evaluated(found: Tables) -> list[str]:
    """Return which children were evaluated to the end."""
    refused = {str(status) for status in Status if status.is_refused}
    outside = {*refused, str(Status.PENDING)}
    return [row["id"] for row in found["candidates"] if row["round"] >= 0 and row["status"] not in outside]


def early_end(run: RunDir) -> EarlyEnd:
    found = stopper.early_end(run)
    assert found is not None
    return found


def steady(source: str, attempt: Attempt) -> Result | None:
    """Return the result of an evaluation of half an hour."""
    result = measure(source, attempt)
    return None if result is None else replace(result, seconds={"total": 1800.0})


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_evaluations_are_counted_to_the_last_one_and_in_order(tmp_path: Path, stride: int) -> None:
    whole = drive(make_run(tmp_path / "whole"))
    for limit in range(1, len(evaluated(whole)) + 1, stride):
        run = budgeted(tmp_path / str(limit), evaluations=limit)
        assert evaluated(drive(run)) == evaluated(whole)[:limit]
        if limit < len(evaluated(whole)):
            assert (early_end(run).key, early_end(run).reached) == ("evaluations", limit)


@pytest.mark.parametrize("limit", [3, 5, 8])
def test_a_search_that_goes_on_ends_as_if_it_had_never_stopped(tmp_path: Path, limit: int) -> None:
    whole = drive(make_run(tmp_path / "whole"))
    run = budgeted(tmp_path / "run", evaluations=limit)
    stopped = drive(run)
    assert stopped != whole
    assert drive(run) == stopped, "run again without more, it stays as it is"
    assert drive(with_stop(run, evaluations=limit + 1)) not in (stopped, whole)
    assert drive(with_stop(run)) == whole
    assert stopper.early_end(run) is None


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 23])
def test_killed_at_any_step_it_stops_at_the_same_place(tmp_path: Path, stride: int) -> None:
    with mortal() as steps:
        expected = drive(budgeted(tmp_path / "expected", evaluations=6))
    for step in range(0, steps.taken, stride):
        run = budgeted(tmp_path / str(step), evaluations=6)
        with mortal(fatal=step), suppress(Killed), Driving(run) as driving:
            driving.driver.drive()
        declare_dead(run)
        assert drive(run) == expected, f"killed at step {step}"
        assert early_end(run).key == "evaluations"


def test_a_target_ends_it_and_no_seed_is_asked_to_do_more(tmp_path: Path) -> None:
    whole = drive(make_run(tmp_path / "whole"))
    fitness = [row["fitness"] for row in whole["candidates"] if row["fitness"] is not None]
    run = budgeted(tmp_path / "run", target_fitness=sorted(fitness)[len(fitness) // 4])
    runner = InstantRunner(run)
    drive(run, runner=runner)
    assert [job.round for job in runner.submitted] == [SEED_ROUND], "a seed was as fit: no language model was asked"
    assert (early_end(run).key, early_end(run).round) == ("target_fitness", 0)
    assert not run.round(0).request.exists()


class OneByOne(InstantRunner):
    """Evaluates one candidate each time that it is asked how far it is."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._waiting: list[tuple[str, int, Attempt]] = []

    def submit(self, job: EvaluationJob) -> None:
        self.submitted.append(job)
        self._waiting += [(job.name, job.round, attempt) for task in job.tasks for attempt in task]

    def poll(self, sizes: Mapping[str, int]) -> dict[str, list[TaskReport]]:
        if self._waiting:
            _, round, attempt = self._waiting.pop(0)
            self.evaluate(round, [attempt])
        at_work = {name for name, *_ in self._waiting}
        state = {name: TaskState.RUNNING if name in at_work else TaskState.ENDED for name in sizes}
        return {name: [TaskReport(state[name])] * size for name, size in sizes.items()}


def test_a_target_that_is_reached_within_a_round_leaves_the_rest_of_it(tmp_path: Path) -> None:
    def only_children_are_fit(source: str, attempt: Attempt) -> Result | None:
        size = 9000 if attempt.candidate_id.startswith("seed-") else 100
        return Result(attempt.candidate_id, 1, Status.TRAINED, "", size, 0.1, -0.1 * size, {"acc": 0.9})

    run = budgeted(tmp_path / "run", target_fitness=-10)
    found = drive(run, runner=OneByOne(run, only_children_are_fit))
    assert len(evaluated(found)) == 1
    assert Status.PENDING in {row["status"] for row in found["candidates"]}
    assert (early_end(run).round, early_end(run).reached) == (0, -10.0)
    with Driving(run) as driving:
        assert driving.driver.next_candidates() == []


def test_rounds_without_improvement_are_counted_between_rounds(tmp_path: Path) -> None:
    def seeds_are_best(source: str, attempt: Attempt) -> Result | None:
        size = 100 if attempt.candidate_id.startswith("seed-") else 9000
        return Result(attempt.candidate_id, 1, Status.TRAINED, "", size, 0.1, -0.1 * size, {"acc": 0.9})

    run = budgeted(tmp_path / "run", rounds_without_improvement=2)
    found = drive(run, runner=InstantRunner(run, seeds_are_best))
    assert {row["round"] for row in found["closed_rounds"]} == {SEED_ROUND, 0, 1}
    assert (early_end(run).key, early_end(run).round, early_end(run).reached) == ("rounds_without_improvement", 2, 2.0)


@pytest.mark.parametrize("make_runner", [InstantRunner, OneByOne])
def test_compute_hours_are_not_overspent(tmp_path: Path, make_runner: Callable[[RunDir, Any], InstantRunner]) -> None:
    run = budgeted(tmp_path / "run", compute_hours=3.2)
    found = drive(run, runner=make_runner(run, steady))
    spent = sum(json.loads(row["seconds"]).get("total", 0) for row in found["results"]) / 3600
    assert 2.7 < spent <= 3.2
    assert (early_end(run).key, early_end(run).reached) == ("compute_hours", spent)


def test_the_language_model_costs_compute_hours_too(tmp_path: Path) -> None:
    run = budgeted(tmp_path / "run", compute_hours=3.2)
    run.round(0).path.mkdir(parents=True)
    spans = [{"doing": doing, "seconds": 1800.5, "ended_at": ""} for doing in ("loading", "tuning", "drawing")]
    run.round(0).lm_times.write_text("\n".join([*map(json.dumps, spans), '{"doing": "dra']))
    found = drive(run, runner=InstantRunner(run, steady))
    assert len(found["results"]) == 3, "half an hour for each of three seeds, an hour and a half for the model"


def test_wall_hours_are_those_of_all_drivers(tmp_path: Path) -> None:
    run = budgeted(tmp_path / "run", wall_hours=2)
    run.clock.write_text('{"seconds": 7000}')
    drive(run)
    assert stopper.early_end(run) is None
    run = budgeted(tmp_path / "other", wall_hours=2)
    run.clock.write_text('{"seconds": 7201}')
    assert evaluated(drive(run)) == []
    assert early_end(run).key == "wall_hours"
    assert json.loads(run.clock.read_text())["seconds"] >= 7201


def test_a_clock_that_cannot_be_read_now_is_not_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = budgeted(tmp_path / "run", wall_hours=2)
    run.clock.write_text('{"seconds": 7201}')

    def stale(path: Path) -> bytes:
        if path == run.clock:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path)

    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(StorageError, match="Stale file handle; try again"):
        drive(run)
    monkeypatch.undo()
    declare_dead(run)
    assert evaluated(drive(run)) == []
    assert json.loads(run.clock.read_text())["seconds"] >= 7201


def test_hours_of_the_language_model_that_cannot_be_read_now_are_not_spent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = budgeted(tmp_path / "run", compute_hours=3.2)
    run.round(0).path.mkdir(parents=True)
    run.round(0).lm_times.write_text('{"doing": "drawing", "seconds": 7200, "ended_at": ""}')

    def stale(path: Path, *args: Any, **kwargs: Any) -> str:
        if path.name == run.round(0).lm_times.name:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, *args, **kwargs)

    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", stale)
    with pytest.raises(StorageError, match="Stale file handle; try again"):
        drive(run, runner=InstantRunner(run, steady))
    monkeypatch.undo()
    declare_dead(run)
    assert evaluated(drive(run, runner=InstantRunner(run, steady))) == []


def test_a_replaced_driver_whose_time_is_up_ends_nothing_of_its_successors(tmp_path: Path) -> None:
    """It stood still for hours, which the clock counts."""
    run = budgeted(tmp_path / "run", wall_hours=2)
    lm = Releasing()

    def suspended(seconds: float) -> bool:
        declare_dead(run)
        with Driving(run):  # opens the database
            pass
        replaced.driver.stopper.clock = Clock(tmp_path / "clock.json")
        return False

    (tmp_path / "clock.json").write_text('{"seconds": 7201}')
    with Driving(run, lm=lm, runner=OneByOne(run)) as replaced:
        replaced.driver.wait = suspended
        with pytest.raises(LeaseError):
            replaced.driver.drive()
    assert stopper.early_end(run) is None
    assert lm.released == 0


class Releasing(ScriptedLMJob):
    """Counts how often it is told that nothing more is asked of it."""

    released = 0

    def release(self) -> None:
        self.released += 1


def test_what_is_asked_for_by_hand_is_within_the_budget(tmp_path: Path) -> None:
    def certain(source: str, attempt: Attempt) -> Result:
        return Result(attempt.candidate_id, 1, Status.TRAINED, "", 100, 0.1, -10.0, {"acc": 0.9})

    run = budgeted(tmp_path / "run", evaluations=4)
    runner = InstantRunner(run, certain)
    asked: list[str] = []
    with Driving(run, runner=runner) as driving:
        while candidates := driving.driver.next_candidates():
            assert candidates == driving.driver.next_candidates()
            runner.evaluate(candidates[0].round, [Attempt(candidate.id, 1) for candidate in candidates])
            asked += [candidate.id for candidate in candidates if candidate.round >= 0]
        assert evaluated(tables(driving.store)) == asked
    assert len(asked) == 4
    assert early_end(run).key == "evaluations"
