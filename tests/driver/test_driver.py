import itertools
import json
import os
import random
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.driving import (
    CONFIG,
    RUN_ID,
    Clock,
    Driving,
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

from evohpc import envelopes
from evohpc.driver import lease
from evohpc.driver.driver import Stopped
from evohpc.driver.intake import Intake
from evohpc.driver.progress import Progress
from evohpc.errors import ConfigError, LeaseError, RunFolderError, StorageError, TaskError
from evohpc.evolution.request import request
from evohpc.files import write_atomic
from evohpc.lm import completions_file
from evohpc.lm_job.scripted import ScriptedLMJob
from evohpc.messages import (
    SEED_ROUND,
    Attempt,
    Candidate,
    EvaluationJob,
    LMRequest,
    Result,
    Status,
    TaskReport,
    TaskState,
)
from evohpc.run_folder import RoundDir, RunDir, read_request
from evohpc.search.rebuild import rebuild
from evohpc.store.store import Store

pytestmark = pytest.mark.usefixtures("unsynced")

SMALL = CONFIG.replace("rounds: 3, prompts_per_round: 2", "rounds: 2, prompts_per_round: 1")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return make_run(tmp_path / "run")


def test_a_search_goes_through_all_rounds(run: RunDir) -> None:
    rows = drive(run)
    assert Counter(row["round"] for row in rows["candidates"]) == {SEED_ROUND: 3, 0: 8, 1: 8, 2: 8}
    outcomes = Counter(row["status"] for row in rows["candidates"])
    assert outcomes["pending"] == 0
    assert min(outcomes[status] for status in ("trained", "timeout", "duplicate", "syntax")) > 0
    assert [row["round"] for row in rows["closed_rounds"]] == [-1, 0, 1, 2]
    assert {row["round"] for row in rows["survivors"]} == {-1, 0, 1, 2}
    for round in range(3):
        folder = run.round(round)
        survivors = [row["candidate_id"] for row in rows["survivors"] if row["round"] == round]
        assert json.loads(folder.survivors.read_text()) == survivors
        assert sorted(path.name for path in folder.path.iterdir()) == [
            "archive.zip",
            "completions.jsonl",
            "request.json",
            "survivors.json",
        ]


def test_the_same_config_is_the_same_search(tmp_path: Path) -> None:
    one, two = (drive(make_run(tmp_path / name)) for name in ("one", "two"))
    assert one == two
    other = drive(make_run(tmp_path / "other", CONFIG.replace("rounds: 3", "seed: 1, rounds: 3")))
    assert other["candidates"] != one["candidates"]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_results_arrive_does_not_matter(tmp_path: Path, seed: int) -> None:
    expected = drive(make_run(tmp_path / "instant"))
    run = make_run(tmp_path / "shuffled")
    runner = ShufflingRunner(run, seed)
    assert drive(run, runner=runner) == expected
    assert runner.polls > 10


def test_lost_attempts_are_made_again(run: RunDir) -> None:
    results = drive(run)["results"]
    again = [row["candidate_id"] for row in results if row["attempt"] == 2]
    assert again
    first = {row["candidate_id"]: row["status"] for row in results if row["attempt"] == 1}
    assert {first[name] for name in again} == {"lost"}


def test_a_candidate_that_is_lost_each_time_is_given_up(run: RunDir) -> None:
    rows = drive(run, runner=InstantRunner(run, lose_children))
    children = {row["status"] for row in rows["candidates"] if row["round"] >= 0}
    assert children - {"duplicate", "syntax", "screened"} == {"lost"}
    attempts = {row["attempt"] for row in rows["results"] if not row["candidate_id"].startswith("seed")}
    assert attempts == {1, 2, 3}
    parents = {row["candidate_id"] for row in rows["survivors"]}
    assert parents == {"seed-w8", "seed-w16", "seed-w32"}


def test_a_round_that_is_packed_waits_for_nothing_more(run: RunDir) -> None:
    rows = drive(run, runner=InstantRunner(run, lose_children))
    run.database.unlink()
    run.config.write_text(CONFIG.replace("retries: 2", "retries: 5"))  # as `evohpc retry` leaves it
    assert drive(run, runner=InstantRunner(run, lose_children)) == rows


def test_a_candidates_file_that_was_removed_or_altered_is_written_again(run: RunDir, tmp_path: Path) -> None:
    class Careless(InstantRunner):
        def submit(self, job: EvaluationJob) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(run, runner=Careless(run))
    first, second, *_ = sorted(run.round(SEED_ROUND).candidates.iterdir())
    first.unlink()
    second.write_text("pass\n")
    assert drive(run) == drive(make_run(tmp_path / "undisturbed"))


def lose_children(source: str, attempt: Attempt) -> Result | None:
    return measure(source, attempt) if attempt.candidate_id.startswith("seed-") else None


def test_parents_of_a_round_are_the_survivors_of_the_last(run: RunDir) -> None:
    rows = drive(run)
    survivors: dict[int, set[str]] = defaultdict(set)
    for row in rows["survivors"]:
        survivors[row["round"]].add(row["candidate_id"])
    children = [row for row in rows["candidates"] if row["round"] >= 0]
    assert children
    for row in children:
        assert set(json.loads(row["parents"])) <= survivors[row["round"] - 1]


@pytest.mark.parametrize(("variant", "tuned"), [("evoprompting", True), ("random_parents", True), ("no_tuning", False)])
def test_the_soft_prompt_is_tuned_from_the_second_round_on(run: RunDir, variant: str, tuned: bool) -> None:
    run.config.write_text(CONFIG.replace("survivors: 3", f"survivors: 1, variant: {variant}"))
    drive(run)
    requests = [read_request(run.round(round)) for round in range(3)]
    assert [asked.tuning is not None for asked in requests] == [False, tuned, tuned]


def test_the_naive_variant_has_one_round_from_the_seeds(run: RunDir) -> None:
    run.config.write_text(CONFIG.replace("rounds: 3", "variant: naive, rounds: 3"))
    rows = drive(run)
    assert Counter(row["round"] for row in rows["candidates"]) == {SEED_ROUND: 3, 0: 24}
    assert read_request(run.round(0)).tuning is None


def test_the_newest_soft_prompt_is_gone_on_from(run: RunDir) -> None:
    """A round whose tuning had no examples leaves none; then the one before counts."""
    run.round(0).adapter.mkdir(parents=True)
    run.config.write_text(CONFIG.replace("survivors: 3", "survivors: 1"))
    drive(run)
    requests = [read_request(run.round(round)) for round in range(3)]
    assert [asked.adapter for asked in requests] == [None, "rounds/000/adapter", "rounds/000/adapter"]
    assert requests[1].tuning is not None
    assert requests[1].tuning.start_from == "rounds/000/adapter"


def test_deepspeeds_settings_go_with_each_request(run: RunDir, tmp_path: Path) -> None:
    settings = tmp_path / "zero.json"
    settings.write_text('{"zero_optimization": {"stage": 2}}')
    run.config.write_text(CONFIG.replace("engine: scripted", f"engine: scripted, deepspeed: {settings}"))
    drive(run)
    assert read_request(run.round(2)).deepspeed_config == {"zero_optimization": {"stage": 2}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), ("{", "not valid JSON"), ("[1]", "holds list; DeepSpeed's settings")],
)
def test_unreadable_deepspeed_settings_are_named(run: RunDir, tmp_path: Path, content: str | None, reason: str) -> None:
    settings = tmp_path / "zero.json"
    if content is not None:
        settings.write_text(content)
    run.config.write_text(CONFIG.replace("engine: scripted", f"engine: scripted, deepspeed: {settings}"))
    with pytest.raises(ConfigError, match=f"lm.deepspeed: {settings}: {reason}"):
        drive(run)


def test_driving_a_finished_search_changes_nothing(run: RunDir) -> None:
    rows = drive(run)
    runner = InstantRunner(run)
    assert drive(run, runner=runner) == rows
    assert runner.submitted == []


def test_more_rounds_go_on_where_a_search_ended(tmp_path: Path) -> None:
    long = drive(make_run(tmp_path / "long"))
    run = make_run(tmp_path / "short", CONFIG.replace("rounds: 3", "rounds: 1"))
    drive(run)
    run.config.write_text(CONFIG)
    assert drive(run) == long


def test_no_seed_that_trains_is_an_error_that_says_why(run: RunDir) -> None:
    def fail(source: str, attempt: Attempt) -> Result:
        return Result(attempt.candidate_id, attempt.attempt, Status.BUILD_ERROR, "NameError: nn")

    with pytest.raises(TaskError, match=r"no seed program could be trained.*seed-w16: build_error: NameError: nn;"):
        drive(run, runner=InstantRunner(run, fail))


def test_a_fault_of_the_task_itself_ends_the_search_at_the_first_seed(run: RunDir) -> None:
    def fail(source: str, attempt: Attempt) -> Result | None:
        bad = attempt.candidate_id == "seed-w8"
        detail = "task t: score raised KeyError: 'y' (task.py, line 5)"
        return Result("seed-w8", 1, Status.TASK_ERROR, detail) if bad else measure(source, attempt)

    runner = InstantRunner(run, fail)
    for _ in range(2):
        with pytest.raises(TaskError, match=r"line 5\); the task itself is at fault, on seed-w8: mend it.*new folder"):
            drive(run, runner=runner)
    assert {a.attempt for job in runner.submitted for task in job.tasks for a in task} == {1}


def test_a_fault_of_the_task_on_a_child_is_final_and_the_search_goes_on(run: RunDir) -> None:
    def fail(source: str, attempt: Attempt) -> Result | None:
        bad = attempt.candidate_id.startswith("r000")
        return Result(attempt.candidate_id, 1, Status.TASK_ERROR, "bad") if bad else measure(source, attempt)

    rows = drive(run, runner=InstantRunner(run, fail))
    assert {row["attempt"] for row in rows["candidates"] if row["status"] == "task_error"} == {1}


def test_a_seed_that_does_not_train_is_told(run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    def measure_one(source: str, attempt: Attempt) -> Result | None:
        bad = attempt.candidate_id == "seed-w8"
        return Result("seed-w8", 1, Status.SHAPE_ERROR, "(3,)") if bad else measure(source, attempt)

    rows = drive(run, runner=InstantRunner(run, measure_one))
    assert "seed-w8: shape_error: (3,); it will be no parent" in caplog.text
    first = {row["candidate_id"] for row in rows["survivors"] if row["round"] == SEED_ROUND}
    assert first == {"seed-w16", "seed-w32"}


def test_a_request_of_another_run_is_named(run: RunDir, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other")
    drive(other)
    path = run.round(0).request
    write_atomic(path, other.round(0).request.read_text().replace(RUN_ID, "run-2"))
    with pytest.raises(RunFolderError, match=f"{path} belongs to run 'run-2', not 'run-1'; remove its folder"):
        drive(run)


def test_a_damaged_request_is_named(run: RunDir) -> None:
    write_atomic(run.round(0).request, "{")
    with pytest.raises(RunFolderError, match=f"{run.round(0).request}: not a valid LMRequest"):
        drive(run)


class SlowLM(ScriptedLMJob):
    """Answers at the third poll."""

    def __init__(self) -> None:
        super().__init__()
        self.polls = 0
        self.ended: list[str] = []

    def poll(self) -> bool:
        self.polls += 1
        return self.polls % 3 == 0

    def cancel(self) -> None:
        self.ended.append("cancelled")

    def close(self) -> None:
        self.ended.append("closed")


class SlowRunner(InstantRunner):
    """Its tasks run for ever."""

    def submit(self, job: EvaluationJob) -> None:
        self.submitted.append(job)

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        return {name: [TaskReport(TaskState.RUNNING)] * size for name, size in sizes.items()}


@pytest.mark.parametrize("slow", ["lm", "runner"])
def test_a_stop_closes_and_cancels_nothing_and_can_be_gone_on_from(run: RunDir, slow: str, tmp_path: Path) -> None:
    lm, runner = (SlowLM(), InstantRunner(run)) if slow == "lm" else (SlowLM(), SlowRunner(run))
    asked = iter([False] * 3 + [True])
    with Driving(run, lm=lm, runner=runner, wait=lambda seconds: next(asked)) as driving:
        with pytest.raises(Stopped):
            driving.driver.drive()
        assert not lm.ended
        assert not runner.is_closed
    assert drive(run) == drive(make_run(tmp_path / "undisturbed"))


class WaitingLM(ScriptedLMJob):
    """Notes what it is asked for."""

    def __init__(self, noted: list[str]) -> None:
        super().__init__()
        self._noted = noted

    def start(self, round: RoundDir) -> None:
        super().start(round)
        self._noted.append(f"asked {round.name}")

    def release(self) -> None:
        self._noted.append("released")


class NotingRunner(InstantRunner):
    """Notes what it evaluates, for the first time."""

    noted: list[str]

    def evaluate(self, round: int, attempts: Sequence[Attempt]) -> None:
        super().evaluate(round, attempts)
        if (note := f"evaluated {round:03d}") not in self.noted:
            self.noted.append(note)


def test_the_language_model_is_released_once_nothing_more_is_asked_of_it(run: RunDir) -> None:
    runner = NotingRunner(run)
    noted = runner.noted = []
    drive(run, lm=WaitingLM(noted), runner=runner)
    assert noted[-3:] == ["asked 002", "released", "evaluated 002"]
    assert noted.count("released") == 1


def die(*args: object) -> None:
    raise Killed


def test_a_driver_that_was_killed_before_it_released_the_language_model_does_so_when_it_goes_on(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    with Driving(run, lm=WaitingLM(noted)) as driving:
        with monkeypatch.context() as context:
            context.setattr(WaitingLM, "release", die)
            with pytest.raises(Killed):
                driving.driver.drive()
        driving.driver.drive()
    assert noted[-2:] == ["asked 002", "released"]


def test_the_driver_waits_longer_the_longer_nothing_happens(run: RunDir) -> None:
    waits = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 12

    with Driving(run, runner=SlowRunner(run), wait=wait) as driving, pytest.raises(Stopped):
        driving.driver.drive()
    assert waits == sorted(waits)
    assert [waits[0], waits[-1]] == pytest.approx([0.075, 1.0])


def test_a_deposed_driver_stops_and_writes_nothing(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    with Driving(run, runner=SlowRunner(run)) as deposed:

        def suspended(seconds: float) -> bool:
            declare_dead(run)
            drive(run)
            return False

        deposed.driver.wait = suspended
        with pytest.raises(LeaseError, match="another driver has taken over"):
            deposed.driver.drive()
        rows = tables(deposed.store)
    assert len(rows["closed_rounds"]) == 4
    assert drive(run) == rows


@pytest.mark.parametrize("stands_still_in", ["write", "close"])
def test_a_driver_that_is_replaced_while_it_packs_leaves_its_successors_archives(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, stands_still_in: str
) -> None:
    """A node that was cut off, or a file system that hung: the files that it was about to pack have been removed."""
    real = getattr(zipfile.ZipFile, stands_still_in)
    stood: list[bool] = []
    rows: list[Tables] = []

    def stands_still(archive: zipfile.ZipFile, *args: object) -> None:
        if not stood and run.round(0).request.exists():
            stood.append(True)
            declare_dead(run)
            rows.append(drive(run))
        real(archive, *args)

    monkeypatch.setattr(zipfile.ZipFile, stands_still_in, stands_still)
    with Driving(run) as replaced, pytest.raises(LeaseError, match="another driver has taken over"):
        replaced.driver.drive()
    for round in range(3):
        with zipfile.ZipFile(run.round(round).archive) as archive:
            assert any(name.startswith("results/") for name in archive.namelist())
        assert not list(run.round(round).path.glob(".tmp-*"))
    rebuild(run)
    assert drive(run) == rows[0]


@pytest.mark.parametrize("step", ["_select", "tuning_examples"])
def test_a_driver_that_is_replaced_before_it_writes_leaves_what_its_successor_wrote(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It stood still before it selected the survivors of round 0, or asked for the children of the next."""
    real, files = getattr(Intake, step), [run.round(0).survivors, run.round(1).request]
    written: list[bytes] = []
    rows: list[Tables] = []

    def stands_still(intake: Intake, round: int, *args: Any) -> object:
        if not rows and run.round(0).archive.exists():
            rows.append({})
            declare_dead(run)
            rows.append(drive(run))
            written.extend(path.read_bytes() for path in files)
        return real(intake, round, *args)

    def another(*args: Any, **kwargs: Any) -> LMRequest:  # as of another evohpc
        asked = request(*args, **kwargs)
        return replace(asked, model_path="elsewhere") if written else asked

    monkeypatch.setattr(Intake, step, stands_still)
    monkeypatch.setattr("evohpc.driver.driver.request", another)
    with Driving(run) as replaced, pytest.raises(LeaseError, match="another driver has taken over"):
        replaced.driver.drive()
    assert [path.read_bytes() for path in files] == written
    rebuild(run)
    assert drive(run) == rows[1]


class AppendingLM(ScriptedLMJob):
    """Appends completions in order, as drawing them one by one does: nothing is to be put in order at the end."""

    def start(self, round: RoundDir) -> None:
        request = read_request(round)
        if not completions_file.is_complete(round.completions, request):
            super().start(round)
            drawn, aside = completions_file.read_complete(round.completions, request), round.path / "appended"
            completions_file.append(aside, drawn)
            aside.replace(round.completions)


def test_completions_survive_a_crash_before_the_store_has_their_children(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[tuple[int, int]] = set()
    real, seen = Store.add_candidates, []

    def sync(descriptor: int) -> None:
        synced.add(key(os.fstat(descriptor)))

    def key(status: os.stat_result) -> tuple[int, int]:  # the number alone comes round again
        return status.st_ino, status.st_mtime_ns

    def add(store: Store, candidates: Sequence[Candidate]) -> None:
        path = run.round(candidates[0].round).completions
        if candidates[0].round != SEED_ROUND:
            seen.append(key(path.stat()) in synced)
        real(store, candidates)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Store, "add_candidates", add)
    drive(run, lm=AppendingLM())
    assert seen == [True] * 3


def test_who_asks_after_being_replaced_is_told(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0)
    with Driving(run) as deposed:
        assert deposed.driver.next_candidates()
        declare_dead(run)
        drive(run)
        with pytest.raises(LeaseError, match="another driver has taken over"):
            deposed.driver.next_candidates()


def test_progress_is_told_in_order(run: RunDir) -> None:
    told: list[Progress] = []
    drive(run, observe=told.append, lm=SlowLM())
    places = list(dict.fromkeys((p.round, p.step) for p in told))
    steps = ["propose", "generate", "screen", "evaluate", "close"]
    assert places == [
        (-1, "evaluate"),
        (-1, "close"),
        *((round, step) for round in range(3) for step in steps),
        (2, "done"),
    ]
    assert all(p.done <= p.total and p.rounds == 3 for p in told)
    assert all(sum(p.counts.values()) == 8 for p in told if p.round >= 0 and p.step == "close")
    best = [p.best.fitness for p in told if p.best and p.best.fitness is not None]
    assert best == sorted(best)


def test_why_jobs_are_held_is_told(run: RunDir) -> None:
    class Held(SlowLM):
        held = "QOSMaxJobs"

    told: list[Progress] = []
    drive(run, observe=told.append, lm=Held())
    assert {p.held for p in told if p.step == "generate"} == {("QOSMaxJobs",)}


def test_candidates_can_be_asked_for_and_measured_elsewhere(run: RunDir, tmp_path: Path) -> None:
    expected = drive(make_run(tmp_path / "driven"))
    with Driving(run) as driving:
        while waiting := driving.driver.next_candidates():
            for candidate in waiting:
                attempt = len(driving.store.results(candidate.id)) + 1
                asked = Attempt(candidate.id, attempt)
                result = measure(candidate.source, asked)
                result = result or Result(candidate.id, attempt, Status.LOST, "ended without a result")
                path = run.round(candidate.round).result(candidate.id, attempt)
                write_atomic(path, envelopes.seal(RUN_ID, 1, result))
        assert tables(driving.store) == expected


def test_readers_see_the_end_of_a_search(run: RunDir) -> None:
    rows = drive(run)
    with closing(Store.snapshot_reader(run.snapshot)) as reader:
        assert tables(reader) == rows


def small(path: Path) -> RunDir:
    return make_run(path, SMALL, seeds=(8, 16))


def undisturbed(folder: Path) -> tuple[dict[str, Any], int]:
    """Return the tables of a search that nobody kills, and how many steps it takes."""
    with mortal() as steps:
        return drive(small(folder / "undisturbed")), steps.taken


def killed_and_resumed(folder: Path, *fatal: int) -> dict[str, Any]:
    """Return the tables of a search whose driver is killed at these steps, one after the other."""
    run = small(folder)
    for step in fatal:
        with mortal(step):
            try:
                driving = Driving(run)
                driving.driver.drive()
            except Killed:
                pass
        declare_dead(run)
    with mortal():
        rows = drive(run)
        rebuild(run)
    with closing(Store.snapshot_reader(run.database)) as reader:
        assert tables(reader) == rows  # the files tell the same
    return rows


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 41])
def test_killed_at_any_step_a_search_ends_in_the_same_tables(tmp_path: Path, stride: int, tally: Tally) -> None:
    expected, steps = undisturbed(tmp_path)
    assert steps > 200
    for step in range(0, steps, stride):
        assert killed_and_resumed(tmp_path / str(step), step) == expected, f"killed at step {step}"
    tally(
        "crash points of a driver (each sync, rename, link, removal and statement); same tables",
        len(range(0, steps, stride)),
    )


def test_killed_again_and_again_a_search_ends_in_the_same_tables(tmp_path: Path) -> None:
    expected, steps = undisturbed(tmp_path)
    rng = random.Random(20261124)
    for number in range(8):
        fatal = [rng.randrange(steps // 3) for _ in range(10)]
        assert killed_and_resumed(tmp_path / str(number), *fatal) == expected, f"killed at steps {fatal}"


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 41])
def test_a_disk_that_is_full_at_any_step_is_named_and_loses_nothing(tmp_path: Path, stride: int) -> None:
    expected, steps = undisturbed(tmp_path)
    said = []
    for step in range(3, steps, stride):
        run = small(tmp_path / str(step))
        with mortal(refused=step):
            try:
                with Driving(run) as driving:
                    driving.driver.drive()
            except StorageError as error:
                said.append(str(error))
        declare_dead(run)
        with mortal():
            assert drive(run) == expected, f"refused at step {step}"
    assert len(said) > 0.5 * steps / stride
    assert all("No space left on device; nothing is lost: free some space" in message for message in said)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


def test_a_patient_driver_outlasts_a_full_disk(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    expected, steps = undisturbed(tmp_path)
    with mortal() as to_begin, Driving(small(tmp_path / "begun")):
        first = to_begin.taken
    for step in range(first, steps, 31):
        run = small(tmp_path / str(step))
        with mortal(refused=step):
            assert drive(run, patience_s=60, wait=clock) == expected
    assert "No space left on device; nothing is lost: free some space" in caplog.text
    assert "trying again in 30 s" in caplog.text


@pytest.mark.parametrize("error", [StorageError("full"), OSError(116, "Stale file handle")])
def test_patience_ends(run: RunDir, clock: Clock, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*args: object) -> None:
        raise error

    monkeypatch.setattr(Store, "add_results", refuse)
    with Driving(run, patience_s=100, wait=clock) as driving, pytest.raises(type(error)):
        driving.driver.drive()
    assert clock.waits.count(30.0) == 4


@pytest.mark.parametrize("seconds", [10, 31, 60, 1000])
def test_patience_ends_however_long_each_refusal_takes(
    run: RunDir, clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    def refuse(*args: object) -> None:
        assert len(clock.waits) < 50, "it goes on for ever"
        clock.advance(seconds)  # as SQLite waits for a lock
        raise StorageError("locked")

    monkeypatch.setattr(Store, "add_results", refuse)
    with Driving(run, patience_s=300, wait=clock) as driving, pytest.raises(StorageError):
        driving.driver.drive()
    assert len(clock.waits) == max(0, -(-(300 - seconds) // (seconds + 30)))


def test_two_short_refusals_with_a_long_training_between_them_are_no_long_one(
    run: RunDir, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect, times = Intake.collect, itertools.count()

    def refuse(intake: Intake, round: int) -> list[Result]:
        time = next(times)
        if time < 3 or 400 <= time < 403:
            raise StorageError("full")
        return [] if time < 400 else collect(intake, round)

    monkeypatch.setattr(Intake, "collect", refuse)
    with Driving(run, patience_s=200, wait=clock) as driving:
        driving.driver.drive()
    assert clock.waits.count(30.0) == 6


def test_patience_is_for_the_file_system_only(run: RunDir, clock: Clock) -> None:
    write_atomic(run.round(0).request, "{")
    with Driving(run, patience_s=100, wait=clock) as driving, pytest.raises(RunFolderError):
        driving.driver.drive()
    assert 30.0 not in clock.waits


def test_a_stop_ends_patience(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise StorageError("full")

    monkeypatch.setattr(Store, "snapshot", refuse)
    with Driving(run, patience_s=100, wait=lambda seconds: seconds == 30) as driving, pytest.raises(Stopped):
        driving.driver.drive()
