from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.evaluating import HONEST
from support.searching import finish, make_config, measure, train_finalists

from evohpc import envelopes
from evohpc.config.site import Site
from evohpc.driver.driver import Stopped
from evohpc.driver.progress import Progress
from evohpc.errors import ConfigError, RunFolderError, TaskError
from evohpc.files import write_atomic, write_once
from evohpc.jobs.base import JobRunner
from evohpc.messages import SEED_ROUND, Candidate, EvaluationJob, TaskReport, TaskState
from evohpc.run_folder import RunDir
from evohpc.search import driving
from evohpc.search.search import Search
from evohpc.search.verification import Asked, Verification, read_plan, read_table
from evohpc.store.store import Store

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")

QUICK = ("task_options.steps=2", "task_options.eval_every=1", "evaluation.workers=1")


def test_a_seed_is_a_run_without_rounds_of_the_finalists(finished_run: Path, tmp_path: Path) -> None:
    best = Search.open(finished_run).best(2)
    made = Verification.create(finished_run, Asked(2, None, QUICK), seeds=1, folder=tmp_path / "v")
    assert [finalist.id for finalist in made.plan.finalists] == [entry.id for entry in best]
    run = RunDir(tmp_path / "v" / "seed-0")
    there = {path.stem: path.read_text() for path in run.seeds.iterdir()}
    assert there == {entry.id: entry.candidate.source for entry in best}
    config = Search.open(run.path).config
    assert (config.search.rounds, config.search.seed, config.lm.engine) == (0, 10_000, "scripted")
    assert config.task_options == {"steps": 2, "eval_every": 1}
    assert run.secret.read_text() != RunDir(finished_run).secret.read_text()


def test_a_longer_recipe_has_time_unless_told_otherwise(tmp_path: Path) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path, "evaluation.time_limit_s=7")) as search:
        finish(search)
    for name, changes, limit in (("a", (), 1800), ("b", ("evaluation.time_limit_s=9",), 9)):
        Verification.create(tmp_path / "run", Asked(1, None, changes), folder=tmp_path / name)
        assert Search.open(tmp_path / name / "seed-0").config.evaluation.time_limit_s == limit


def test_the_budgets_of_the_search_do_not_end_its_verification(tmp_path: Path) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path, "search.stop.target_fitness=-100000")) as search:
        finish(search)
        assert search.early_end is not None
    Verification.create(tmp_path / "run", Asked(2), folder=tmp_path / "v")
    with Search.open(tmp_path / "v" / "seed-0") as verified:
        finish(verified)
        assert verified.early_end is None
        assert len(verified.best()) == 2


@pytest.mark.parametrize("below", [0.2, 0.5])
def test_only_finalists_with_a_smaller_error(finished_run: Path, tmp_path: Path, below: float) -> None:
    with closing(Store.snapshot_reader(RunDir(finished_run).snapshot)) as store:
        good = [score.id for score in store.scores() if score.error < below]
    made = Verification.create(finished_run, Asked(100, below), folder=tmp_path / "v")
    assert [finalist.id for finalist in made.plan.finalists] == good


def test_a_search_without_good_candidates_has_no_finalists(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="has no candidate with an error below 0 to verify"):
        Verification.create(finished_run, Asked(error_below=0), folder=tmp_path / "v")
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search.rounds=3", "can change task_options, evaluation, screening, and nothing else"),
        ("seeds=elsewhere", "can change task_options, evaluation"),
        ("evaluation.threadz=1", r"did you mean evaluation\.threads"),
    ],
)
def test_a_change_that_is_none_of_a_recipe_is_refused(
    finished_run: Path, tmp_path: Path, override: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Verification.create(finished_run, Asked(overrides=(override,)), folder=tmp_path / "v")
    assert not (tmp_path / "v").exists()


def test_after_a_mistake_the_same_folder_can_be_used(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="steps is -2, it must be above 0"):
        Verification.create(finished_run, Asked(1, None, ("task_options.steps=-2",)), folder=tmp_path / "v")
    made = Verification.create(finished_run, Asked(1, None, QUICK), folder=tmp_path / "v")
    assert made.plan.asked.overrides == QUICK


def test_a_folder_with_something_else_is_left_alone(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/table.csv").write_text("my,precious\n")
    with pytest.raises(RunFolderError, match=r"mine holds other files \(table.csv\); take a new folder"):
        Verification.create(finished_run, Asked(1, None, QUICK), folder=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["table.csv"]


def test_the_same_request_goes_on_and_another_one_is_refused(finished_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "v"
    asked = Asked(2, 0.4, QUICK)
    first = Verification.create(finished_run, asked, seeds=2, folder=folder)
    train_finalists(folder, 0)
    for same in (asked, None):
        assert Verification.create(finished_run, same, folder=folder).plan == first.plan
    said = "v holds another verification, of .* asked for with --best 2 --max-error 0.4 --set task_options.steps=2 "
    for other in (Asked(3, 0.4, QUICK), Asked(2, None, QUICK), Asked(2, 0.4)):
        with pytest.raises(RunFolderError, match=said):
            Verification.create(finished_run, other, folder=folder)
    assert [row.trained for row in read_table(folder)] == [1, 1]


def test_seeds_can_be_added_but_not_taken_away(finished_run: Path, tmp_path: Path) -> None:
    for asked, found in ((2, 2), (4, 4), (3, 4), (None, 4)):
        made = Verification.create(finished_run, seeds=asked, folder=tmp_path / "v")
        assert made.plan.seeds == read_plan(tmp_path / "v").seeds == found


def test_a_verification_is_of_one_run(finished_run: Path, tmp_path: Path) -> None:
    Verification.create(finished_run, folder=tmp_path / "v")
    with Search.create(tmp_path / "other", make_config(tmp_path, "search.rounds=0")) as search:
        finish(search)
    with pytest.raises(RunFolderError, match=r"verifies the run run-\w+, not other-\w+; take another folder: --to"):
        Verification.create(tmp_path / "other", folder=tmp_path / "v")


def test_a_search_that_goes_on_keeps_its_finalists_and_tells_of_fitter_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path, "search.rounds=1")) as search:
        finish(search)
    first = Verification.create(tmp_path / "run", Asked(1)).plan
    with Search.create(tmp_path / "run", make_config(tmp_path, "search.rounds=2")) as search:
        fittest = search.ask()[0]
        search.tell(replace(measure(fittest), error=0.001, fitness=-0.1))
        finish(search)
    assert Verification.create(tmp_path / "run", Asked(1)).plan == first
    assert f"found fitter ones since: {fittest.id}; --to FOLDER verifies these" in caplog.text
    (tmp_path / "run" / "verified" / "plan.json").unlink()
    for other in (Asked(2), Asked(1, None, QUICK)):
        with pytest.raises(RunFolderError, match="seed-0 holds another search"):
            Verification.create(tmp_path / "run", other)
    again = Verification.create(tmp_path / "run", Asked(1)).plan
    assert again == first, "killed before the plan was written, and the search had gone on"


def test_no_plan_and_a_damaged_one_are_named(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"is no verification \(it has no plan.json\); start one: evohpc verify"):
        read_table(tmp_path)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"plan.json: not a valid Plan: .*; take another folder"):
        Verification.create(finished_run, folder=tmp_path)


def test_a_failure_with_some_seed_is_a_row_and_no_exception(finished_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "v"
    made = Verification.create(finished_run, Asked(2), seeds=3, folder=folder)
    one, two = made.plan.finalists
    for seed in range(3):
        made.search(seed)
        train_finalists(folder, seed, fails=[one.id] if seed == 1 else [])
    rows = {row.id: row for row in read_table(folder)}
    assert (rows[one.id].trained, rows[one.id].failures) == (2, "seed 1: timeout: too slow")
    assert (rows[two.id].trained, rows[two.id].failures) == (3, "")
    assert rows[two.id].fitness == two.fitness  # measured by the same arithmetic as in the search
    assert Verification.create(finished_run, folder=folder).run() == read_table(folder)


def attempts(folder: Path, seeds: int) -> list[int]:
    found = []
    for seed in range(seeds):
        with closing(Store.snapshot_reader(RunDir(folder / f"seed-{seed}").snapshot)) as store:
            found += [result.attempt for result in store.every_result()]
    return found


@pytest.fixture
def half_broken(tmp_path: Path) -> Path:
    """A search with two programs, one of which does not train."""
    write_atomic(tmp_path / "programs" / "good.py", HONEST)
    write_atomic(tmp_path / "programs" / "bad.py", HONEST.replace("LazyLinear(10)", "LazyLinear(11)"))
    config = make_config(tmp_path, "search.rounds=0", f"seeds={tmp_path / 'programs'}")
    with Search.create(tmp_path / "run", config) as search:
        finish(search)
    return tmp_path / "run"


@pytest.mark.slow
def test_trained_for_real_stopped_and_gone_on_with(half_broken: Path) -> None:
    stop = threading.Event()

    def observe(progress: Progress) -> None:
        if progress.step == "done":
            stop.set()

    folder = half_broken / "verified"
    with Verification.create(half_broken, Asked(2, 1, QUICK), seeds=2) as made, pytest.raises(Stopped):
        made.run(observe=observe, stop=stop)
    assert sorted(path.name for path in folder.iterdir()) == ["plan.json", "seed-0"]
    with Verification.create(half_broken) as again:
        good, bad = again.run()
    assert (good.id, good.trained, good.seeds, good.num_params, good.failures) == ("seed-good", 2, 2, 410, "")
    assert good.test_accuracy is not None
    assert good.fitness_sd is not None
    assert (bad.id, bad.trained) == ("seed-bad", 0)
    assert re.fullmatch(r"seed 0: shape_error: .*\(128, 11\).*\nseed 1: shape_error: .*", bad.failures)
    assert attempts(folder, 2) == [1, 1, 1, 1]
    again.run(observe=lambda progress: pytest.fail("nothing is left to drive"))


class Queue:
    """A site: what is submitted lasts until somebody has asked twice, whoever it was."""

    def __init__(self, run: Path, noted: list[str]) -> None:
        self._run, self._noted, self._jobs, self._polls = Search.open(run), noted, dict[str, EvaluationJob](), 0

    def submit(self, job: EvaluationJob) -> None:
        self._jobs[job.name] = job
        self._noted.append(f"submitted {self._run.folder.path.name}")

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        self._polls += 1
        if self._polls == 2:
            for attempt in (attempt for job in self._jobs.values() for task in job.tasks for attempt in task):
                folder = self._run.folder.round(SEED_ROUND)
                source = folder.candidate(attempt.candidate_id).read_text()
                candidate = next(c for c in _seeds(self._run) if c.source == source)
                sealed = envelopes.seal(self._run.run_id, 1, measure(candidate))
                write_once(folder.result(attempt.candidate_id, attempt.attempt), sealed)
                self._noted.append(f"trained {self._run.folder.path.name}")
        return {name: [TaskReport(TaskState.RUNNING)] * size for name, size in sizes.items()}

    def cancel(self, names: Collection[str]) -> None:
        raise AssertionError("a driver that stops cancels nothing")

    def close(self) -> None:
        """Its jobs outlive it."""


def _seeds(search: Search) -> Iterator[Candidate]:
    with closing(Store.snapshot_reader(search.folder.snapshot)) as store:
        return iter([entry.candidate for entry in store.entries(SEED_ROUND)])


@pytest.mark.parametrize(("limit", "is_ahead"), [(None, True), (3, True), (2, False)])
def test_on_a_site_the_arrays_of_all_seeds_are_queued_at_once_if_there_is_room(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None, is_ahead: bool
) -> None:
    noted: list[str] = []

    def runner(run: RunDir, *rest: object) -> JobRunner:
        return Queue(run.path, noted)

    monkeypatch.setattr(driving, "job_runner", runner)
    site = Site().model_copy(update={"scheduler": Site().scheduler.model_copy(update={"max_queued": limit})})
    made = Verification.create(finished_run, Asked(1), seeds=3, folder=tmp_path / "v", site=site)
    assert [row.trained for row in made.run()] == [3]
    ahead = [f"submitted seed-{seed}" for seed in range(3)]
    assert (noted[:3] == ahead) == is_ahead
    assert [note for note in noted if note.startswith("trained")] == [f"trained seed-{seed}" for seed in range(3)]
    assert json.loads((tmp_path / "v" / "plan.json").read_text())["seeds"] == 3
