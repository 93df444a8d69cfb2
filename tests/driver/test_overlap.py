"""Rounds whose children are evaluated while others are still drawn end in the tables of rounds that are drawn first."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from support.driving import (
    CONFIG,
    Driving,
    GradualLM,
    InstantRunner,
    ShufflingRunner,
    Tables,
    drive,
    make_run,
    measure,
    tables,
)
from support.killing import Killed, declare_dead, mortal
from support.tally import Tally

from evohpc.driver import portions
from evohpc.driver.driver import Stopped
from evohpc.errors import LeaseError, RunFolderError
from evohpc.lm import completions_file
from evohpc.lm_job.base import is_complete
from evohpc.messages import Attempt, Completion, EvaluationJob, LMRequest, TaskReport, TaskState
from evohpc.run_folder import RunDir, read_request
from evohpc.search.rebuild import rebuild
from evohpc.store.store import Store

pytestmark = pytest.mark.usefixtures("unsynced")

LARGE = CONFIG.replace("prompts_per_round: 2", "prompts_per_round: 4")
SMALL = CONFIG.replace("rounds: 3, prompts_per_round: 2", "rounds: 2, prompts_per_round: 1")
RUNGS = CONFIG.replace("evaluation: {", "evaluation: {rungs: [{keep: 0.6, task_options: {steps: 1}}], ")
REPEATS = RUNGS.replace("retries: 2", "retries: 2, repeats: 1")
BUDGET = CONFIG.replace("survivors: 3", "survivors: 3, stop: {evaluations: 11}")
HOURS = RUNGS.replace("survivors: 3", "survivors: 3, stop: {compute_hours: 1000}")
RANDOM = CONFIG.replace("survivors: 3", "survivors: 3, variant: random_parents, retire_parents: false")


def overlapped(run: RunDir, seed: int = 0) -> Tables:
    runner = ShufflingRunner(run, seed)
    return drive(run, lm=GradualLM(seed), runner=runner, wait=runner.wait, overlaps=True)


@pytest.mark.parametrize("seeds", [1, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "config",
    [LARGE, RUNGS, REPEATS, BUDGET, HOURS, RANDOM],
    ids=["plain", "rungs", "repeats", "budget of evaluations", "budget of hours with rungs", "random parents"],
)
def test_tables_are_those_of_rounds_that_are_drawn_first(tmp_path: Path, config: str, seeds: int) -> None:
    expected = drive(make_run(tmp_path / "sequential", config))
    assert len(expected["candidates"]) > 12
    for seed in range(seeds):
        run = make_run(tmp_path / str(seed), config)
        assert overlapped(run, seed) == expected
        for round in range(2):
            one, other = (RunDir(tmp_path / name).round(round) for name in ("sequential", str(seed)))
            assert one.request.read_bytes() == other.request.read_bytes()
            assert one.completions.read_bytes() == other.completions.read_bytes()


def test_a_budget_of_evaluations_is_spent_on_the_first_drawn_where_ids_sort_otherwise(tmp_path: Path) -> None:
    """r000p100s000 comes before r000p11s000."""
    config = SMALL.replace("rounds: 2, prompts_per_round: 1, samples_per_prompt: 4", "rounds: 1").replace(
        "survivors: 3", "survivors: 3, prompts_per_round: 120, samples_per_prompt: 1, stop: {evaluations: 30}"
    )
    expected = drive(make_run(tmp_path / "sequential", config))
    evaluated = {row["candidate_id"] for row in expected["results"] if not row["candidate_id"].startswith("seed-")}
    assert len(evaluated) == 30
    assert not any(id.startswith("r000p1") and len(id) == len("r000p100s000") for id in evaluated)
    assert overlapped(make_run(tmp_path / "overlapped", config)) == expected


class NotingRunner(InstantRunner):
    """Notes whether all completions were there at each submission of children."""

    def __init__(self, run: RunDir) -> None:
        super().__init__(run)
        self.was_complete: list[bool] = []

    def submit(self, job: EvaluationJob) -> None:
        if job.round >= 0 and job not in self.submitted:
            self.was_complete.append(is_complete(self._run.round(job.round)))
        super().submit(job)


def test_children_are_handed_out_before_all_are_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", LARGE)
    runner = NotingRunner(run)
    drive(run, lm=GradualLM(), runner=runner, overlaps=True)
    assert runner.was_complete.count(False) > 3
    assert not any(portions.are_left(run.round(round)) for round in range(3))
    later = NotingRunner(other := make_run(tmp_path / "other", LARGE))
    drive(other, lm=GradualLM(), runner=later)
    assert all(later.was_complete)


class QueuedRunner(InstantRunner):
    """Its tasks wait in a queue until all completions are there."""

    def __init__(self, run: RunDir) -> None:
        super().__init__(run)
        self._waiting: list[EvaluationJob] = []

    def submit(self, job: EvaluationJob) -> None:
        if job.round < 0 or is_complete(self._run.round(job.round)):
            super().submit(job)
        elif job not in self._waiting:
            self._waiting.append(job)
            self.submitted.append(job)

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        queued = {job.name: TaskReport(TaskState.WAITING) for job in self._waiting}
        for job in [job for job in self._waiting if is_complete(self._run.round(job.round))]:
            self._waiting.remove(job)
            for task in job.tasks:
                self.evaluate(job.round, task)
        return {name: [queued.get(name, TaskReport(TaskState.ENDED))] * size for name, size in sizes.items()}


def test_where_arrays_wait_in_a_queue_portions_grow(tmp_path: Path) -> None:
    config = CONFIG.replace("rounds: 3, prompts_per_round: 2, samples_per_prompt: 4", "rounds: 1").replace(
        "survivors: 3", "survivors: 3, prompts_per_round: 8, samples_per_prompt: 8"
    )
    expected = drive(make_run(tmp_path / "sequential", config))
    run = make_run(tmp_path / "run", config)
    runner = QueuedRunner(run)
    assert drive(run, lm=GradualLM(), runner=runner, overlaps=True) == expected
    firsts = [job for job in runner.submitted if job.round == 0 and {a.attempt for t in job.tasks for a in t} == {1}]
    assert 3 <= len(firsts) <= 9
    sizes = [sum(map(len, job.tasks)) for job in firsts]
    assert sizes[1] > sizes[0]


class ForgetfulLM(GradualLM):
    """Loses the end of its file at its start, and draws that again with other words, as a GPU may."""

    def start(self, round: object) -> None:
        super().start(round)  # type: ignore[arg-type]
        path, request = self._round.completions, read_request(self._round)
        kept = list(completions_file.read(path, request).values())[:2]
        if not is_complete(self._round):
            completions_file.write(path, kept)
            places = {(completion.prompt, completion.sample) for completion in kept}
            self._left = [c for c in self._draw(request) if (c.prompt, c.sample) not in places]

    def _draw(self, request: LMRequest) -> list[Completion]:
        return [replace(drawn, text=f"{drawn.text}\n        # again") for drawn in super()._draw(request)]


def stopped_in_the_midst(run: RunDir, admitted: int = 4) -> Tables:
    """Drive a run until so many children of round 0 were admitted; return its tables."""
    with Driving(run, lm=GradualLM(), runner=InstantRunner(run), overlaps=True) as driving:
        driving.driver.wait = lambda seconds: sum(driving.store.counts(0).values()) >= admitted
        with suppress(Stopped):
            driving.driver.drive()
        return tables(driving.store)


def test_what_was_admitted_stays_though_it_is_drawn_again_with_other_words(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = stopped_in_the_midst(run)["candidates"]
    children = {row["id"]: row["source"] for row in before if row["round"] == 0}
    assert 3 < len(children) < 8
    rows = drive(run, lm=ForgetfulLM(), overlaps=True)
    after = {row["id"]: row["source"] for row in rows["candidates"] if row["round"] == 0}
    assert {id: after[id] for id in children} == children
    assert "# again" in "".join(source for id, source in after.items() if id not in children)
    rebuild(run)
    with closing(Store.snapshot_reader(run.database)) as reader:
        assert tables(reader) == rows


def test_a_database_can_be_rebuilt_in_the_midst_and_overlap_be_switched_off(tmp_path: Path) -> None:
    expected = drive(make_run(tmp_path / "sequential"))
    run = make_run(tmp_path / "run")
    before = stopped_in_the_midst(run)["candidates"]
    rebuild(run)
    with closing(Store.snapshot_reader(run.database)) as reader:
        assert [row["id"] for row in reader.rows("candidates")] == [row["id"] for row in before]
    assert drive(run, lm=GradualLM()) == expected


def test_children_can_be_asked_for_where_a_driver_was_stopped_in_the_midst(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    stopped_in_the_midst(run)
    with Driving(run, lm=GradualLM()) as driving:
        driving.driver.next_candidates()
        assert sum(driving.store.counts(0).values()) == 8


def test_a_damaged_portion_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    stopped_in_the_midst(run)
    path = run.round(0).path / "portions" / "000000.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(RunFolderError, match=r"000000.json: not JSON: torn or altered; take it from a backup"):
        drive(run, lm=GradualLM(), overlaps=True)
    path.rename(path.with_name("000009.json"))
    path.with_name("000009.json").write_bytes(whole)
    with pytest.raises(RunFolderError, match=r"\d+.json: it does not go on where the portions before it end"):
        drive(run, lm=GradualLM(), overlaps=True)


def test_of_two_drivers_one_admits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    with Driving(run, lm=GradualLM(), overlaps=True) as deposed:
        add = portions.add

        def suspended(*args: object) -> None:
            monkeypatch.setattr(portions, "add", add)
            declare_dead(run)
            stopped_in_the_midst(run)
            add(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(portions, "add", suspended)
        with pytest.raises(LeaseError, match="another driver has taken over"):
            deposed.driver.drive()


def killed_and_resumed(run: RunDir, *fatal: int) -> Tables:
    """Return the tables of a search whose driver is killed at these steps, one after the other."""
    for number, step in enumerate(fatal):
        with mortal(step):
            try:
                driving = Driving(run, lm=GradualLM(number), runner=ShufflingRunner(run, number), overlaps=True)
                driving.driver.drive()
            except Killed:
                pass
        declare_dead(run)
    with mortal():
        rows = drive(run, lm=GradualLM(99), overlaps=True)
        rebuild(run)
    with closing(Store.snapshot_reader(run.database)) as reader:
        assert tables(reader) == rows  # the files tell the same
    return rows


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 151])
def test_killed_at_any_step_it_ends_in_the_same_tables(tmp_path: Path, stride: int, tally: Tally) -> None:
    expected = drive(make_run(tmp_path / "sequential", SMALL))
    with mortal() as steps:
        run = make_run(tmp_path / "undisturbed", SMALL)
        assert overlapped(run) == expected
    assert steps.taken > 300
    tried = range(0, steps.taken, stride)
    for step in tried:
        run = make_run(tmp_path / str(step), SMALL)
        assert killed_and_resumed(run, step) == expected, f"killed at step {step}"
    tally("crash points of a driver that evaluates while others are drawn; same tables", len(tried))


def test_killed_again_and_again_it_ends_in_the_same_tables(tmp_path: Path) -> None:
    expected = drive(make_run(tmp_path / "sequential", SMALL))
    rng = random.Random(20261126)
    for number in range(2):
        fatal = [rng.randrange(150) for _ in range(8)]
        run = make_run(tmp_path / str(number), SMALL)
        assert killed_and_resumed(run, *fatal) == expected, f"killed at steps {fatal}"


def test_a_lost_attempt_is_made_again_while_others_are_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", LARGE)
    seen: list[tuple[Attempt, bool]] = []

    class Noting(InstantRunner):
        def evaluate(self, round: int, attempts: Sequence[Attempt]) -> None:
            super().evaluate(round, attempts)
            seen.extend((attempt, is_complete(run.round(round))) for attempt in attempts if round >= 0)

    drive(run, lm=GradualLM(), runner=Noting(run, measure), overlaps=True)
    assert any(attempt.attempt == 2 and not was_complete for attempt, was_complete in seen)
