from __future__ import annotations

import errno
import json
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.evaluating import HONEST
from support.killing import declare_dead, mortal
from support.searching import driver_of, finish, make_config, measure

from evohpc.config.site import Site
from evohpc.driver import lease, patience
from evohpc.driver.driver import Stopped
from evohpc.driver.progress import Progress
from evohpc.errors import ConfigError, LeaseError, RunFolderError, StorageError
from evohpc.files import write_atomic
from evohpc.messages import SEED_ROUND, Result, Status
from evohpc.report import failures
from evohpc.run_folder import RunDir
from evohpc.search.search import Search
from evohpc.store.store import Store

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")


def create(folder: Path, *overrides: str) -> Search:
    return Search.create(folder / "run", make_config(folder, *overrides))


def test_asking_goes_from_the_seeds_through_all_rounds(tmp_path: Path) -> None:
    with create(tmp_path) as search:
        rounds = []
        while candidates := search.ask():
            rounds.append({candidate.round for candidate in candidates})
            for candidate in candidates:
                search.tell(measure(candidate))
        best = search.best(3)
    assert rounds == [{SEED_ROUND}, {0}, {1}]
    fitness = [entry.fitness for entry in best if entry.fitness is not None]
    assert len(fitness) == 3
    assert fitness == sorted(fitness, reverse=True)


def test_asking_twice_returns_the_same(tmp_path: Path) -> None:
    with create(tmp_path) as search:
        first = search.ask()
        assert search.ask() == first
        search.tell(measure(first[0]))
        assert search.ask() == first[1:]


def test_a_machine_fault_is_asked_again_until_the_retries_are_used_up(tmp_path: Path) -> None:
    with create(tmp_path, "evaluation.retries=1") as search:
        unlucky = search.ask()[0]
        search.tell(replace(measure(unlucky), status=Status.NODE_FAIL, fitness=None))
        assert unlucky in search.ask()
        search.tell(replace(measure(unlucky, attempt=2), status=Status.LOST, fitness=None))
        assert unlucky not in search.ask()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attempt": 2}, "attempt 2 was told, attempt 1 is due"),
        ({"status": Status.DUPLICATE}, "duplicate is no outcome of an evaluation"),
        ({"fitness": None, "metrics": {}}, r"needs fitness, metrics\['val_accuracy'\]"),
        ({"num_params": 0}, "num_params is 0; it must be finite, and 1 or more"),
        ({"num_params": -3}, "num_params is -3; it must be finite, and 1 or more"),
        ({"num_params": 1.5}, r"num_params: Input should be a valid integer"),
        ({"num_params": 2**63}, "num_params is 9223372036854775808"),
        ({"num_params": "many"}, "not supported between"),
        ({"error": float("nan")}, r"error is nan; it must be finite, and 0 or more"),
        ({"error": -0.1}, r"error is -0\.1; it must be finite, and 0 or more"),
        ({"fitness": float("-inf")}, "fitness is -inf; it must be finite"),
        ({"metrics": {"val_accuracy": float("nan")}}, r"metrics\['val_accuracy'\] is nan; it must be finite"),
        ({"seconds": {"train": -1.0}}, r"seconds\['train'\] is -1\.0; it must be finite, and 0 or more"),
        ({"status": Status.TIMEOUT}, "timeout has no fitness, and this has"),
        ({"status": "fine"}, "status: Input should be"),
        ({"detail": "\ud800"}, "surrogates not allowed"),
        ({"source_sha256": "00"}, "measured on another source"),
    ],
)
def test_what_is_told_must_fit(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with create(tmp_path) as search:
        result = measure(search.ask()[0])
        with pytest.raises(ConfigError, match=message):
            search.tell(replace(result, **change))  # type: ignore[arg-type]
        assert not search.folder.round(SEED_ROUND).results.exists(), "what was refused leaves no file"
        search.tell(result)
        with pytest.raises(ConfigError, match="no such candidate waits"):
            search.tell(result)


def test_numbers_of_numpy_can_be_told(tmp_path: Path) -> None:
    with create(tmp_path) as search:
        result = measure(search.ask()[0])
        search.tell(replace(result, error=np.float32(0.25), num_params=np.int64(7), fitness=np.float64(-2)))  # type: ignore[arg-type]
        entry = search.best(1)[0]
    assert entry.result is not None
    assert (entry.result.error, entry.result.num_params, entry.result.fitness) == (0.25, 7, -2)


def test_another_process_may_not_drive_it_meanwhile_and_may_afterwards(tmp_path: Path) -> None:
    with create(tmp_path) as search:
        search.ask()
        with pytest.raises(LeaseError, match="already driven by process"):
            Search.open(tmp_path / "run").ask()
    with Search.open(tmp_path / "run") as other:
        assert other.ask()


def test_a_search_whose_leases_were_removed_goes_on(tmp_path: Path) -> None:
    for _ in range(3):
        with create(tmp_path) as search:
            search.ask()
    shutil.rmtree(search.folder.lease)
    with Search.open(tmp_path / "run") as other:
        assert other.ask()


@pytest.fixture
def held_elsewhere(tmp_path: Path) -> Search:
    """A search whose driver was on another host and cannot be seen."""
    with create(tmp_path) as search:
        search.ask()
    path = max(search.folder.lease.glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "released": False, "host": "n42"}))
    return Search.open(tmp_path / "run")


def test_a_stop_ends_the_wait_for_a_driver_that_cannot_be_seen(held_elsewhere: Search) -> None:
    stop = threading.Event()
    with pytest.raises(Stopped), held_elsewhere as search:
        search.run(stop=stop, waiting=lambda message: stop.set())


def test_a_wait_never_has_the_lock_that_a_signal_handler_needs_for_a_stop(held_elsewhere: Search) -> None:
    class Unlocked(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pytest.fail("Event.wait() has the event's lock when it looks whether it was set")

    stop = Unlocked()
    with pytest.raises(Stopped), held_elsewhere as search:
        search.run(stop=stop, waiting=lambda message: stop.set())


def test_a_search_whose_task_file_was_removed_does_not_begin(tmp_path: Path) -> None:
    with create(tmp_path) as search:
        search.ask()
    config = search.folder.config
    config.write_text(config.read_text().replace("task: mnist1d", "task: task.py:Own"))
    with pytest.raises(RunFolderError, match=r"task\.py is missing, .*copy that file there again"):
        Search.open(tmp_path / "run").ask()


def test_reading_needs_no_driver(finished_run: Path) -> None:
    assert len(Search.open(finished_run).best(4)) == 4


def test_the_same_config_opens_the_same_search(tmp_path: Path) -> None:
    first, second = create(tmp_path), create(tmp_path)
    assert first.run_id == second.run_id
    with pytest.raises(RunFolderError, match=r"search\.seed is 0 there and 1 in this config"):
        create(tmp_path, "search.seed=1")


def test_more_rounds_can_be_added_to_a_finished_search(tmp_path: Path) -> None:
    with create(tmp_path) as search:
        finish(search)
    with create(tmp_path, "search.rounds=3") as search:
        assert {candidate.round for candidate in search.ask()} == {2}


def test_a_stop_before_the_first_result_leaves_a_search_that_goes_on(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with create(tmp_path) as search, pytest.raises(Stopped):
        search.run(stop=stop)
    said = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert (said["round"], said["step"]) == (SEED_ROUND, "evaluate")
    with Search.open(tmp_path / "run") as search:
        finish(search)
        assert search.best(1)


QUICK = ("search.rounds=0", "task_options={steps: 20, eval_every: 10}", "evaluation.workers=2")


def stop_when(stop: threading.Event, is_time: Callable[[Progress], bool]) -> Callable[[Progress], None]:
    return lambda progress: stop.set() if is_time(progress) else None


@pytest.mark.slow
def test_the_same_object_goes_on_after_a_stop_and_no_candidate_loses_an_attempt(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    for width in (4, 8):
        write_atomic(
            programs / f"w{width}.py", HONEST.replace("nn.Lazy", f"nn.Linear(40, {width})\n        self.then = nn.Lazy")
        )
    with create(tmp_path, *QUICK, f"seeds={programs}") as search:
        stop = threading.Event()
        with pytest.raises(Stopped):
            search.run(stop=stop, observe=stop_when(stop, lambda progress: progress.step == "evaluate"))
        assert lease.holder(search.folder) is None, "whoever stopped holds nothing"
        search.run()
        store = Store.snapshot_reader(search.folder.snapshot)
        with closing(store):
            attempts = {e.candidate.id: [r.attempt for r in store.results(e.candidate.id)] for e in store.every()}
    assert attempts == {"seed-w4": [1], "seed-w8": [1]}


def test_after_a_stop_readers_see_where_it_stopped(tmp_path: Path) -> None:
    stop = threading.Event()
    with create(tmp_path, *QUICK) as search:
        with pytest.raises(Stopped):
            search.run(stop=stop, observe=stop_when(stop, lambda progress: progress.step == "evaluate"))
        with closing(Store.snapshot_reader(search.folder.snapshot)) as reader:
            assert reader.counts(SEED_ROUND) == {Status.PENDING: 4}


def test_the_lease_is_beaten_while_a_candidate_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.02)
    with create(tmp_path) as search:
        search.ask()
        before = lease.holder(search.folder)
        time.sleep(0.3)
        after = lease.holder(search.folder)
    assert before is not None
    assert after is not None
    assert after.beat > before.beat + 2


def test_who_was_replaced_begins_anew_at_the_next_call(tmp_path: Path) -> None:
    with create(tmp_path) as search:
        first = search.ask()
        declare_dead(search.folder)
        with Search.open(tmp_path / "run") as other:
            other.tell(measure(first[0]))
        with pytest.raises(LeaseError, match="another driver has taken over"):
            search.tell(measure(first[1]))
        assert search.ask() == first[1:]


def test_the_site_is_kept_with_the_run_and_may_be_replaced(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    assert Search.create(tmp_path / "run", config).site is None
    assert Search.create(tmp_path / "run", config, site=Site(python="/opt/python")).site == Site(python="/opt/python")
    assert Search.open(tmp_path / "run").site == Site(python="/opt/python")
    assert RunDir(tmp_path / "run").site.is_file()


def test_the_best_are_such_as_could_be_parents(tmp_path: Path) -> None:
    with create(tmp_path) as search:
        first, second, *others = search.ask()
        search.tell(replace(measure(first), error=0.7, fitness=-1.0))
        search.tell(replace(measure(second), error=0.3, fitness=-2.0))
        for candidate in others:
            search.tell(replace(measure(candidate), error=0.3, fitness=-3.0))
        assert search.best()[0].candidate.id == second.id
        assert first.id not in {entry.candidate.id for entry in search.best()}


@pytest.mark.parametrize(("job_id", "patience_s"), [(None, 0), ("42", 3600)])
def test_only_a_driver_that_nobody_watches_is_patient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job_id: str | None, patience_s: float
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if job_id is not None:
        monkeypatch.setenv("SLURM_JOB_ID", job_id)
    create(tmp_path).close()
    with driver_of(tmp_path / "run") as driver:
        assert driver.patience_s == patience_s


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.ESTALE])
def test_a_driver_that_nobody_watches_begins_when_the_file_system_lets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    monkeypatch.setattr(patience, "RETRY_EVERY_S", 0.0)
    create(tmp_path).close()

    def begin(refused: int) -> int:
        """Drive until the first progress, while one step is refused; return how many there were."""
        stop, search, taken = threading.Event(), Search.open(tmp_path / "run"), 0

        def observe(progress: Progress) -> None:
            nonlocal taken
            taken = steps.taken
            stop.set()

        with mortal(refused=refused, code=error) as steps, pytest.raises(Stopped):
            search.run(observe=observe, stop=stop)
        return taken

    steps = begin(-1)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(StorageError):
        begin(1)
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    for step in range(steps):
        begin(step)


WIDE = HONEST.replace(
    "nn.LazyLinear(10)", "nn.Sequential(nn.LazyLinear(32), nn.ReLU(), nn.LazyLinear(len('abcdefghij')))"
)
"""The scripted engine can change its width, and nothing else."""


@pytest.mark.slow
def test_children_climb_the_rungs_for_real(tmp_path: Path) -> None:
    write_atomic(tmp_path / "programs" / "wide.py", WIDE)
    rungs = "evaluation.rungs=[{keep: 0.5, task_options: {steps: 2}}]"
    few = ("search.rounds=1", "search.prompts_per_round=1", "search.samples_per_prompt=6", "search.error_threshold=1.0")
    options = ("task_options={steps: 4, eval_every: 2}", "evaluation.workers=2", f"seeds={tmp_path / 'programs'}")
    with create(tmp_path, *few, *options, rungs) as search:
        search.run()
        with closing(Store.snapshot_reader(search.folder.snapshot)) as store:
            steps = {e.id: [r.metrics.get("reported_step") for r in store.results(e.id)] for e in store.every()}
            status = {entry.id: entry.candidate.status for entry in store.every()}
            survivors = {entry.id for entry in store.survivors(0)}
            failed = {reason[0] for reason in failures.reasons(store)}
    assert steps.pop("seed-wide") == [4.0]
    trained = {id for id in steps if status[id] is Status.TRAINED}
    dropped = {id for id in steps if status[id] is Status.DROPPED}
    assert trained
    assert dropped
    assert {status[id] for id in steps} <= {Status.TRAINED, Status.DROPPED, Status.DUPLICATE, Status.SYNTAX}
    assert all(steps[id] == [2.0, 4.0] for id in trained)
    assert all(steps[id] == [2.0, None] for id in dropped)
    assert len(trained) == (len(trained | dropped) + 1) // 2
    assert survivors == trained
    assert not failed & {Status.TRAINED, Status.DROPPED}


@pytest.mark.slow
def test_children_are_trained_again_for_real(tmp_path: Path) -> None:
    write_atomic(tmp_path / "programs" / "wide.py", WIDE)
    few = ("search.rounds=1", "search.prompts_per_round=1", "search.samples_per_prompt=4", "search.error_threshold=1.0")
    options = ("task_options={steps: 4, eval_every: 2}", "evaluation.workers=2", f"seeds={tmp_path / 'programs'}")
    with create(tmp_path, *few, *options, "evaluation.repeats=2") as search:
        search.run()
        with closing(Store.snapshot_reader(search.folder.snapshot)) as store:
            trained = list(store.every(0, [Status.TRAINED]))
            results = {entry.id: store.results(entry.id) for entry in trained}
    assert trained
    for entry in trained:
        *each, mean = results[entry.id]
        assert len({result.fitness for result in each}) > 1
        assert entry.result == mean
        assert mean.metrics["trainings"] == 3
        assert mean.error == pytest.approx(sum(result.error or 0 for result in each) / 3)


@pytest.mark.parametrize(("key", "value"), [("rungs", "[{keep: 0.5, task_options: {steps: 2}}]"), ("repeats", "1")])
def test_what_is_measured_elsewhere_knows_of_one_training(tmp_path: Path, key: str, value: str) -> None:
    with create(tmp_path, f"evaluation.{key}={value}") as search:
        for call in (search.ask, lambda: search.tell(Result("seed-cnn", 1, Status.TRAINED))):
            with pytest.raises(ConfigError, match=rf"evaluation\.{key} is set, of which `ask` and `tell` know nothing"):
                call()
