"""Searches with `evaluation.rungs`: who goes on, who is dropped, and that no kill changes it."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.climbing import by_candidate, driven, kill, killed_and_resumed, measure, undisturbed
from support.driving import CONFIG, RUN_ID, InstantRunner, drive, make_run, tables
from support.killing import mortal
from support.rows import trained

from evohpc import envelopes
from evohpc.config.rungs import Rung
from evohpc.driver import rungs
from evohpc.driver.dispatch import next_attempts, pack
from evohpc.driver.rungs import Course
from evohpc.errors import RunFolderError
from evohpc.messages import SEED_ROUND, Attempt, EvaluationJob, Result, Status, TaskReport, TaskState
from evohpc.run_folder import RunDir
from evohpc.search.rebuild import rebuild
from evohpc.store.store import Store

pytestmark = pytest.mark.usefixtures("unsynced")

RUNGS = "rungs: [{keep: 0.6, task_options: {steps: 1}}, {keep: 0.5, task_options: {steps: 2}}]"
STEPPED = CONFIG.replace("evaluation: {", f"evaluation: {{{RUNGS}, ")
SMALL = STEPPED.replace("rounds: 3", "rounds: 2")
REPEATED = SMALL.replace(RUNGS, "rungs: [{keep: 0.6, task_options: {steps: 1}}], repeats: 2")
TWO = (Rung(keep=0.6, task_options={"steps": 1}), Rung(keep=0.5, task_options={"steps": 2}))


def stepped(path: Path, config: str = STEPPED) -> RunDir:
    return make_run(path, config)


def test_only_who_passes_every_rung_is_trained_in_the_end(tmp_path: Path) -> None:
    rows = driven(stepped(tmp_path / "run"))
    results = by_candidate(rows)
    for row in rows["candidates"]:
        measured = [rung for status, rung in results[row["id"]] if status == "trained"]
        if row["round"] == SEED_ROUND:
            assert measured == [-1.0], "a seed is trained wholly, and once"
        elif row["status"] == "trained":
            assert measured == [0.0, 1.0, 2.0]
        elif row["status"] == "dropped":
            assert measured in ([0.0], [0.0, 1.0])
            assert row["fitness"] is None
            assert results[row["id"]][-1] == ("dropped", None)
    outcomes = Counter(row["status"] for row in rows["candidates"] if row["round"] >= 0)
    assert min(outcomes[status] for status in ("trained", "dropped", "timeout", "duplicate")) > 0
    last = {row["id"] for row in rows["candidates"] if row["status"] == "trained"}
    assert {row["candidate_id"] for row in rows["pool"]} | {row["candidate_id"] for row in rows["survivors"]} <= last


def test_the_fittest_share_goes_on_whatever_its_error(tmp_path: Path) -> None:
    run = stepped(tmp_path / "run")
    rows = driven(run)
    seen = 0
    for round in range(3):
        for number in range(2):
            measured = {
                row["candidate_id"]: row["fitness"]
                for row in rows["results"]
                if row["status"] == "trained"
                and json.loads(row["metrics"])["rung"] == number
                and row["candidate_id"].startswith(f"r{round:03d}")
            }
            if not measured:
                continue
            ranked = sorted(measured, key=lambda id: (-measured[id], id))
            count = [0.6, 0.5][number] * len(ranked)
            assert (
                json.loads(rungs.decision(run.round(round), number).read_text()) == ranked[: max(1, int(count + 0.5))]
            )
            seen += 1
    assert seen >= 4


def test_a_rung_waits_for_all_that_are_at_it(tmp_path: Path) -> None:
    run = stepped(tmp_path / "run")
    asked: list[tuple[int, Sequence[Attempt]]] = []

    class Noting(InstantRunner):
        def evaluate(self, round: int, attempts: Sequence[Attempt]) -> None:
            if round >= 0:
                asked.append((round, attempts))
            super().evaluate(round, attempts)

    drive(run, runner=Noting(run, measure))
    order = [(round, attempt.rung) for round, attempts in asked for attempt in attempts]
    assert order == sorted(order, key=lambda place: (place[0], place[1] or 0))
    assert {rung for _, rung in order} == {0, 1, 2}


class Shuffling(InstantRunner):
    """Finishes a few tasks at each poll, in no order."""

    def __init__(self, run: RunDir, seed: int) -> None:
        super().__init__(run, measure)
        self._rng, self._running = random.Random(seed), list[tuple[EvaluationJob, int]]()

    def submit(self, job: EvaluationJob) -> None:
        self._running += [(job, index) for index in range(len(job.tasks))]

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        self._rng.shuffle(self._running)
        while self._running and self._rng.random() < 0.5:
            job, index = self._running.pop()
            self.evaluate(job.round, job.tasks[index])
        running = {(job.name, index) for job, index in self._running}
        states = (TaskState.ENDED, TaskState.RUNNING)
        return {
            name: [TaskReport(states[(name, index) in running]) for index in range(size)]
            for name, size in sizes.items()
        }


@pytest.mark.parametrize("seed", range(4))
def test_the_order_in_which_results_arrive_does_not_matter(tmp_path: Path, seed: int) -> None:
    expected = driven(stepped(tmp_path / "instant"))
    run = stepped(tmp_path / "shuffled")
    assert drive(run, runner=Shuffling(run, seed)) == expected


@pytest.mark.parametrize("config", [SMALL, REPEATED], ids=["rungs", "rung and repeats"])
@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 29])
def test_killed_at_any_step_it_ends_in_the_same_tables(tmp_path: Path, stride: int, config: str) -> None:
    expected, steps = undisturbed(tmp_path, config)
    assert steps > 200
    for step in range(0, steps, stride):
        assert killed_and_resumed(tmp_path / str(step), config, step) == expected, f"killed at step {step}"


@pytest.mark.parametrize("config", [SMALL, REPEATED], ids=["rungs", "rung and repeats"])
def test_killed_again_and_again_it_ends_in_the_same_tables(tmp_path: Path, config: str) -> None:
    expected, steps = undisturbed(tmp_path, config)
    rng = random.Random(20261126)
    for number in range(4):
        fatal = [rng.randrange(steps // 3) for _ in range(10)]
        assert killed_and_resumed(tmp_path / str(number), config, *fatal) == expected, f"killed at steps {fatal}"


def test_a_finished_search_is_rebuilt_row_for_row(tmp_path: Path) -> None:
    run = stepped(tmp_path / "run")
    before = driven(run)
    run.database.unlink()
    rebuild(run)
    with closing(Store.snapshot_reader(run.database)) as store:
        assert tables(store) == before


@pytest.mark.parametrize("step", range(60, 300, 40))
def test_a_search_that_was_killed_is_rebuilt_and_ends_in_the_same_tables(tmp_path: Path, step: int) -> None:
    expected, _ = undisturbed(tmp_path, SMALL)
    run = stepped(tmp_path / "killed", SMALL)
    kill(run, step)
    with mortal():
        rebuild(run, accept_loss=True)
        assert driven(run) == expected


def test_a_search_whose_database_is_lost_after_a_round_goes_on_to_the_same_end(tmp_path: Path) -> None:
    run = stepped(tmp_path / "run")
    before = driven(run)
    for path in (run.database, run.snapshot):
        path.unlink()
    assert driven(run) == before


def lose_a_rung(source: str, attempt: Attempt) -> Result | None:
    return None if attempt.rung == 1 else measure(source, attempt)


def test_machine_faults_at_a_rung_are_given_up_after_as_many_retries_as_ever(tmp_path: Path) -> None:
    run = stepped(tmp_path / "run")
    rows = drive(run, runner=InstantRunner(run, lose_a_rung))
    results = by_candidate(rows)
    lost = [row["id"] for row in rows["candidates"] if row["status"] == "lost"]
    assert lost
    for id in lost:
        assert Counter(results[id]) == {("lost", None): 3, ("trained", 0.0): 1}
    assert {row["candidate_id"] for row in rows["survivors"]} == {"seed-w8", "seed-w16", "seed-w32"}


def test_a_damaged_decision_is_named(tmp_path: Path) -> None:
    run = stepped(tmp_path / "run")
    rungs.decision(run.round(0), 0).parent.mkdir(parents=True)
    rungs.decision(run.round(0), 0).write_text("{")
    with pytest.raises(RunFolderError, match=r"rung-0\.json: not a valid list: .*; take it from a backup"):
        driven(run)


def results(*statuses: Status) -> list[Result]:
    return [replace(trained("a", number), status=status) for number, status in enumerate(statuses, 1)]


OK, LOST, BAD = Status.TRAINED, Status.LOST, Status.TIMEOUT


@pytest.mark.parametrize(
    ("statuses", "is_final"),
    [
        ((OK,), False),
        ((OK, OK), False),
        ((OK, OK, OK), True),
        ((OK, BAD), True),
        ((BAD,), True),
        ((OK, Status.DROPPED), True),
        ((LOST,), False),
        ((LOST, OK, LOST), False),
        ((LOST, OK, LOST, LOST), True),
    ],
)
def test_what_is_final(statuses: Sequence[Status], is_final: bool) -> None:
    assert rungs.is_final(results(*statuses), Course(TWO), retries=2) is is_final


def test_a_passed_rung_leads_to_the_next_attempt_and_shares_its_task() -> None:
    attempted = {"a": results(OK), "b": results(OK, LOST), "c": results(LOST, OK), "d": results(OK)}
    due = next_attempts(["d", "b", "a", "c"], attempted, has_rungs=True)
    assert [(a.candidate_id, a.attempt, a.rung) for a in due] == [("a", 2, 1), ("b", 3, 1), ("c", 3, 1), ("d", 2, 1)]
    assert [[a.candidate_id for a in task] for task in pack(due, 2)] == [["a", "d"], ["b"], ["c"]]


def test_a_job_says_for_which_rung_it_is_and_one_of_0_1_0_for_none() -> None:
    job = EvaluationJob("n", 0, ((Attempt("a", 2, 1),),))
    read = envelopes.unseal(envelopes.seal(RUN_ID, 1, job), RUN_ID, EvaluationJob)
    assert read.tasks[0][0].rung == 1
    old = '{"name":"n","round":0,"tasks":[[{"candidate_id":"a","attempt":2}]]}'
    assert envelopes.decode(old, EvaluationJob).tasks[0][0].rung is None
