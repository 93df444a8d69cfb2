"""Rounds that close at a share of their candidates (`search.close_at`): who is late, and that no kill changes it."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.driving import (
    CONFIG,
    RUN_ID,
    Driving,
    GradualLM,
    InstantRunner,
    Tables,
    drive,
    make_run,
    measure,
    tables,
)
from support.killing import Killed, declare_dead, mortal
from support.tally import Tally

from evohpc import envelopes
from evohpc.driver import stopper
from evohpc.driver.driver import Stopped
from evohpc.errors import RunFolderError
from evohpc.evaluation.orders import TaskOrder
from evohpc.evolution.population import known_with
from evohpc.files import write_once
from evohpc.jobs.local import LocalRunner
from evohpc.jobs.shares import WHOLE, Share
from evohpc.jobs.worker_process import Worker
from evohpc.messages import Attempt, EvaluationJob, Result, Status, TaskReport, TaskState
from evohpc.report.reader import Reading
from evohpc.report.tables import rounds_table
from evohpc.run_folder import RunDir, read_request
from evohpc.search.rebuild import rebuild
from evohpc.store.store import Store

pytestmark = pytest.mark.usefixtures("unsynced")

SHARE = (
    CONFIG.replace("survivors: 3", "survivors: 3, close_at: 0.7")
    .replace("rounds: 3", "rounds: 4")
    .replace("_per_task: 3", "_per_task: 1")
)
SMALL = SHARE.replace("rounds: 4", "rounds: 3")
REPEATS = SMALL.replace("retries: 2", "retries: 2, repeats: 1")
RANDOM = SHARE.replace("survivors: 3", "survivors: 3, variant: random_parents, retire_parents: false")
PLENTY = "samples_per_prompt: 8"
LAST = 3


class Late(InstantRunner):
    """Has some of each round evaluated when a later round's are handed out, which a look at the disk tells: so a new
    one goes on where an old one was killed. Where no later round comes, they are after many polls."""

    def __init__(self, run: RunDir, last: int = LAST) -> None:
        super().__init__(run)
        self._last, self._held = last, list[tuple[int, Sequence[Attempt]]]()
        self.polled: list[set[int]] = []
        self._idle = 0

    def lag(self, round: int, id: str) -> int:
        """Return how many rounds later than its own a candidate is evaluated: as many of a round are late as may be."""
        ids = sorted(path.stem for path in self._run.round(round).candidates.glob("*.py"))
        late = ids[-(-7 * len(ids) // 10) :] if round >= 0 else []
        return 1 + late.index(id) % 2 if id in late else 0

    def submit(self, job: EvaluationJob) -> None:
        if job not in self.submitted:
            self.submitted.append(job)
            self._held += [(job.round, [attempt]) for task in job.tasks for attempt in task]
        self._go_on()

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        self._go_on()
        rounds = {job.round for job in self.submitted if job.name in sizes}
        self.polled.append(rounds)
        held = {attempt for _, attempts in self._held for attempt in attempts}
        return {name: [self._report(held, task) for task in self._tasks(name, size)] for name, size in sizes.items()}

    def _tasks(self, name: str, size: int) -> Sequence[Sequence[Attempt]]:
        return next((job.tasks for job in self.submitted if job.name == name), [()] * size)

    def _report(self, held: Collection[Attempt], task: Sequence[Attempt]) -> TaskReport:
        return TaskReport(TaskState.RUNNING if set(task) & set(held) else TaskState.ENDED)

    def _go_on(self) -> None:
        self._idle += 1
        for held in list(self._held):
            round, attempts = held
            if self._is_handed_out(round + self.lag(round, attempts[0].candidate_id)) or self._idle > 50:
                self._idle = 0
                self.evaluate(round, attempts)
                self._held.remove(held)

    def _is_handed_out(self, round: int) -> bool:
        folder = self._run.round(min(round, self._last))
        return folder.archive.exists() or any(folder.jobs.glob("*.json"))


def broken(source: str, attempt: Attempt) -> Result | None:
    """Return the outcome of a program that does not build, where `measure` calls it too slow."""
    result = measure(source, attempt)
    return replace(result, status=Status.BUILD_ERROR) if result and result.status is Status.TIMEOUT else result


class Failing(Late):
    """Has programs that do not build."""

    def __init__(self, run: RunDir) -> None:
        super().__init__(run)
        self._measure = broken


def late_of(run: RunDir) -> dict[int, list[str]]:
    """Return who was late, by round."""
    folders = {round: run.round(round).late for round in range(9)}
    return {round: json.loads(path.read_text()) for round, path in folders.items() if path.exists()}


def crossed(run: RunDir, rounds: int = LAST + 1) -> list[bytes]:
    """Return what the language model was asked, and who was selected and late, byte for byte."""
    folders = [run.round(round) for round in range(rounds)]
    paths = [path for folder in folders for path in (folder.request, folder.survivors, folder.late) if path.exists()]
    return [path.read_bytes() for path in paths]


def test_a_round_closes_at_its_share_and_the_last_waits_for_all(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SHARE)
    runner = Late(run)
    rows = drive(run, runner=runner)
    evaluated = {r: [c for c in rows["candidates"] if c["round"] == r and c["attempt"]] for r in range(LAST + 1)}
    late = late_of(run)
    assert sorted(late) == [0, 1, 2]
    for round in late:
        own = [id for id in late[round] if id.startswith(f"r{round:03d}")]
        assert len(own) == len(evaluated[round]) * 3 // 10
    assert any(id.startswith("r000") for id in late[1]), "one was late for two rounds"
    assert not any(row["status"] == "pending" for row in rows["candidates"])
    assert any(len(rounds) > 1 for rounds in runner.polled), "arrays of two rounds at once"
    assert all(run.round(round).archive.exists() for round in range(LAST + 1))
    assert [(row["round"], row["candidate_id"]) for row in rows["late_candidates"]] == [
        (round, id) for round in late for id in sorted(late[round])
    ]


def test_who_is_late_is_selected_later_and_tuned_on_later(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", SHARE.replace("survivors: 3", "survivors: 1").replace("samples_per_prompt: 4", PLENTY)
    )
    rows = drive(run, runner=Late(run))
    late = {id for ids in late_of(run).values() for id in ids}
    known = known_with((round, id) for round, ids in late_of(run).items() for id in ids)
    errors = {(row["candidate_id"], row["attempt"]): row["error"] for row in rows["results"]}
    trained = [row for row in rows["candidates"] if row["round"] >= 0 and row["status"] == "trained"]
    fit = [row for row in trained if errors[row["id"], row["attempt"]] < 0.5]
    gone, tuned_on = set[str](), set[str]()
    for round in range(LAST + 1):
        survivors = [row["candidate_id"] for row in rows["survivors"] if row["round"] == round]
        first: dict[str, int] = {row["id"]: row["round"] for row in fit} | known
        pool = {row["id"]: row["fitness"] for row in fit if first[row["id"]] <= round and row["id"] not in gone}
        assert survivors == sorted(pool, key=lambda id: (-pool[id], id))[:1]
        gone |= set(survivors)
        if round < LAST:
            tuning = read_request(run.round(round + 1)).tuning
            shown = {example.candidate_id for example in tuning.examples} if tuning else set[str]()
            assert shown == {row["id"] for row in fit if first[row["id"]] == round} - set(survivors)
            tuned_on |= shown
    assert late & gone, "one that was late was selected"
    assert late & tuned_on, "one that was late was tuned on"


def test_who_failed_late_is_repaired_later(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SHARE.replace("samples_per_prompt: 4", PLENTY))
    drive(run, runner=Failing(run))
    late = late_of(run)
    known = known_with((round, id) for round, ids in late.items() for id in ids)
    with Driving(run) as driving:
        every = [entry.candidate for entry in driving.store.every(statuses=[Status.BUILD_ERROR])]
        for round in range(1, LAST + 1):
            shown = [candidate.id for candidate in driving.intake.failed(round)]
            assert shown == [c.id for c in every if known.get(c.id, c.round) == round - 1]
    assert set(known) & {candidate.id for candidate in every}


@pytest.mark.parametrize("config", [SHARE, REPEATS, RANDOM], ids=["plain", "repeats", "random parents"])
def test_a_search_is_rebuilt_row_for_row(tmp_path: Path, config: str) -> None:
    run = make_run(tmp_path / "run", config)
    rows = drive(run, runner=Late(run, last=2 if config is REPEATS else LAST))
    assert rows["late_candidates"]
    run.database.unlink()
    run.snapshot.unlink()
    rebuild(run)
    with closing(Store.snapshot_reader(run.database)) as store:
        assert tables(store) == rows


def stop_when(holds: Callable[[Driving], bool]) -> Callable[[Driving], None]:
    def drive_on(driving: Driving) -> None:
        driving.driver.wait = lambda seconds: holds(driving)
        with pytest.raises(Stopped):
            driving.driver.drive()

    return drive_on


def has_late(driving: Driving) -> bool:
    return bool(driving.driver.at_work.late)


@pytest.mark.parametrize("loses_its_database", [False, True])
def test_rebuilt_or_made_again_in_the_midst_it_ends_in_the_same_tables(
    tmp_path: Path, loses_its_database: bool
) -> None:
    expected = drive(other := make_run(tmp_path / "undisturbed", SHARE), runner=Late(other))
    run = make_run(tmp_path / "run", SHARE)
    with Driving(run, runner=Late(run)) as driving:
        stop_when(has_late)(driving)
        for round in (0, 1):
            driving.intake.collect(round)  # what is on disk, and rebuild will find
        driving.driver.snapshot()
        before = tables(driving.store)
    assert before["late_candidates"]
    if loses_its_database:
        run.database.unlink()
    else:
        rebuild(run)
        with closing(Store.snapshot_reader(run.database)) as store:
            assert tables(store) == before
    assert drive(run, runner=Late(run)) == expected
    assert crossed(run) == crossed(other)


def test_what_is_late_is_overtaken_by_nothing_while_the_next_round_is_drawn(tmp_path: Path) -> None:
    expected = drive(other := make_run(tmp_path / "undisturbed", SHARE), runner=Late(other))
    run = make_run(tmp_path / "run", SHARE)
    assert drive(run, lm=GradualLM(), runner=Late(run), overlaps=True)["late_candidates"]
    assert expected["late_candidates"]
    run = make_run(tmp_path / "gradual", SHARE)
    assert drive(run, lm=GradualLM(), runner=Late(run)) == expected


def killed(run: RunDir, *fatal: int, last: int = 2) -> None:
    for step in fatal:
        with mortal(step), suppress(Killed):
            Driving(run, runner=Late(run, last)).driver.drive()
        declare_dead(run)


def ended(run: RunDir, runner: InstantRunner) -> Tables:
    """Drive a search to its end; return its tables, which its files tell, too."""
    with mortal():
        rows = drive(run, runner=runner)
        rebuild(run)
    with closing(Store.snapshot_reader(run.database)) as store:
        assert tables(store) == rows
    return rows


def undisturbed(folder: Path, config: str) -> tuple[Tables, list[bytes], int]:
    run = make_run(folder, config)
    with mortal() as steps:
        rows = drive(run, runner=Late(run, last=2))
    return rows, crossed(run), steps.taken


@pytest.mark.parametrize("config", [SMALL, REPEATS], ids=["plain", "repeats"])
@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 61])
def test_killed_at_any_step_it_ends_in_the_same_tables(tmp_path: Path, config: str, stride: int, tally: Tally) -> None:
    rows, asked, steps = undisturbed(tmp_path / "undisturbed", config)
    assert steps > 200
    assert rows["late_candidates"]
    for step in range(0, steps, stride):
        run = make_run(tmp_path / str(step), config)
        killed(run, step)
        assert ended(run, Late(run, last=2)) == rows, f"killed at step {step}"
        assert crossed(run) == asked
    tally("crash points of a driver whose rounds close at a share; same tables", len(range(0, steps, stride)))


def test_killed_again_and_again_it_ends_in_the_same_tables(tmp_path: Path) -> None:
    rows, asked, steps = undisturbed(tmp_path / "undisturbed", SMALL)
    rng = random.Random(20261127)
    for number in range(3):
        run = make_run(tmp_path / str(number), SMALL)
        fatal = [rng.randrange(steps // 3) for _ in range(8)]
        killed(run, *fatal)
        assert ended(run, Late(run, last=2)) == rows, f"killed at steps {fatal}"
        assert crossed(run) == asked


class AsRecorded(Late):
    """Evaluates late who was late in another run."""

    def __init__(self, run: RunDir, record: RunDir) -> None:
        super().__init__(run, last=2)
        self._known = known_with((round, id) for round, ids in late_of(record).items() for id in ids)

    def lag(self, round: int, id: str) -> int:
        return self._known.get(id, round) - round


def steady(source: str, attempt: Attempt) -> Result:
    """Return the outcome of a program, which is lost in no attempt."""
    result = measure(source, replace(attempt, attempt=2))
    assert result is not None
    return replace(result, attempt=attempt.attempt)


@pytest.mark.parametrize("stride", [pytest.param(3, marks=pytest.mark.slow), 67])
def test_who_was_late_stays_late_though_all_is_known_after_a_kill(tmp_path: Path, stride: int, tally: Tally) -> None:
    """While nobody drives, all that is at work is evaluated. Then the search ends as one that was never killed, and in
    which those were late whom the records name."""
    _, _, steps = undisturbed(tmp_path / "undisturbed", SMALL)
    seen: set[tuple[int, ...]] = set()
    for step in range(40, steps, stride):
        run = make_run(tmp_path / str(step), SMALL)
        with mortal(step), suppress(Killed):
            runner = Late(run, last=2)
            runner._measure = steady
            Driving(run, runner=runner).driver.drive()
        declare_dead(run)
        rows = ended(run, InstantRunner(run, steady))
        again = make_run(tmp_path / f"again-{step}", SMALL)
        recorded = AsRecorded(again, run)
        recorded._measure = steady
        assert drive(again, runner=recorded) == rows, f"killed at step {step}"
        assert crossed(again) == crossed(run)
        seen.add(tuple(late_of(run)))
    assert {(), (0,), (0, 1)} >= seen
    assert len(seen) > 1
    tally("crash points after which all that was late is there; as recorded", len(range(40, steps, stride)))


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SHARE)
    with Driving(run, runner=Late(run)) as driving:
        stop_when(has_late)(driving)
    run.round(0).late.write_text('["r000p09s999"]')
    with pytest.raises(RunFolderError, match=r"late.json: no candidate is called 'r000p09s999'; take it from a backup"):
        rebuild(run)


@pytest.mark.parametrize("limit", [1, 6, 9, 13])
def test_a_budget_of_evaluations_counts_who_is_late_and_waits_for_it(tmp_path: Path, limit: int) -> None:
    run = make_run(tmp_path / "run", SHARE.replace("survivors: 3", f"survivors: 3, stop: {{evaluations: {limit}}}"))
    rows = drive(run, runner=Late(run))
    assert len([row for row in rows["candidates"] if row["round"] >= 0 and row["attempt"]]) == limit
    closed = {row["round"] for row in rows["closed_rounds"]}
    assert not [row for row in rows["candidates"] if row["round"] in closed and row["status"] == "pending"]
    ended_for = stopper.early_end(run)
    assert ended_for is not None
    assert (ended_for.key, ended_for.reached) == ("evaluations", limit)


def test_a_search_that_stands_still_ends_after_its_late_ones(tmp_path: Path) -> None:
    config = SHARE.replace("survivors: 3", "survivors: 3, stop: {rounds_without_improvement: 1}")
    run = make_run(tmp_path / "run", config)
    rows = drive(run, runner=Late(run))
    assert 1 < len(rows["closed_rounds"]) < LAST + 2
    assert rows["late_candidates"]
    assert not [row for row in rows["candidates"] if row["status"] == "pending"]


def test_what_came_in_late_improves_the_round_that_knew_it_first(tmp_path: Path) -> None:
    """So a driver that sees it sooner, after a kill, ends a search that stands still where another would."""
    run = make_run(tmp_path / "run", SHARE)
    drive(run, runner=Late(run))
    late = late_of(run)
    with Driving(run) as driving:
        of_round = {kin.id: kin.round for kin in driving.driver.stopper._kin()}
    assert {of_round[id] for id in late[0]} == {1, 2}
    assert {of_round[id] for id in set(late[0]) - set(late[1])} == {1}


def test_who_is_late_can_be_asked_for_with_the_next_round(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SHARE)
    asked: list[set[int]] = []
    with Driving(run) as driving:
        while waiting := driving.driver.next_candidates():
            asked.append({candidate.round for candidate in waiting})
            youngest = waiting[-1]
            result = steady(youngest.source, Attempt(youngest.id, 1))
            write_once(run.round(youngest.round).result(youngest.id, 1), envelopes.seal(RUN_ID, 1, result))
            driving.intake.collect(youngest.round)
        rows = tables(driving.store)
    assert {0, 1} in asked
    assert len(rows["closed_rounds"]) == LAST + 2
    assert len(rows["results"]) == len(asked), "each was asked for, and entered, once"
    assert not [row for row in rows["candidates"] if row["status"] == "pending"]


class OneByOne(Worker):
    """Evaluates by arithmetic; the last candidate of round 0 not before round 1 is handed out."""

    def __init__(self, run: Path, share: Share = WHOLE) -> None:
        self._run = RunDir(run)
        self._stopped = threading.Event()

    @property
    def is_alive(self) -> bool:
        return True

    def run(self, order: TaskOrder) -> TaskReport:
        folder = self._run.round(order.round)
        job = envelopes.unseal(folder.job(order.name).read_bytes(), RUN_ID, EvaluationJob)
        slowest = max((path.stem for path in folder.candidates.glob("*.py")), default="")
        for attempt in job.tasks[order.index]:
            if order.round == 0 and attempt.candidate_id == slowest:
                while not (any(self._run.round(1).jobs.glob("*.json")) or self._stopped.wait(0.01)):
                    pass
            result = steady(folder.candidate(attempt.candidate_id).read_text(), attempt)
            write_once(folder.result(attempt.candidate_id, attempt.attempt), envelopes.seal(RUN_ID, 1, result))
        return TaskReport(TaskState.ENDED)

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        pass


def test_on_one_machine_a_slow_candidate_holds_up_no_round(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SHARE)
    runner = LocalRunner(run.path, workers=2, start=OneByOne)

    def wait(seconds: float) -> bool:
        time.sleep(0.01)
        return False

    rows = drive(run, runner=runner, wait=wait)
    slowest = max(row["id"] for row in rows["candidates"] if row["round"] == 0 and row["attempt"])
    assert slowest in late_of(run)[0]
    assert len(rows["closed_rounds"]) == LAST + 2
    assert not [row for row in rows["candidates"] if row["status"] == "pending"]


def test_reports_say_who_is_late(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SHARE)
    with Driving(run, runner=Late(run)) as driving:
        stop_when(has_late)(driving)
        driving.driver.snapshot()
        late = len(driving.store.pending(0))
        assert 0 < late <= len(late_of(run)[0])
    with Reading(run.path) as reading:
        assert reading.late == reading.status()["late"] == late
        assert dict(reading.headlines())["late"] == f"{late} of closed rounds without an outcome yet (search.close_at)"
        table = Console(width=200)
        with table.capture() as captured:
            table.print(rounds_table(reading.store, reading.task, 0.5))
        assert " late " in captured.get()
    drive(run, runner=Late(run))
    with Reading(run.path) as reading:
        assert reading.late == 0
        assert "late" not in dict(reading.headlines())
        selections = reading.selections()
        for round in range(LAST + 1):
            pool = [one.id for one in selections.pool(round)]
            assert pool[:3] == list(selections.survivors[round])
            assert not set(pool) & set(late_of(run).get(round, ()))
