from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from support.searching import finish, make_config, measure

from evohpc.config.site import Site
from evohpc.driver.driver import Stopped
from evohpc.errors import ConfigError, LeaseError, RunFolderError
from evohpc.messages import SEED_ROUND, Status
from evohpc.run_folder import RunDir
from evohpc.search.search import Search

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
    fitness = [entry.result.fitness for entry in best if entry.result]
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
    ],
)
def test_what_is_told_must_fit(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with create(tmp_path) as search:
        result = measure(search.ask()[0])
        with pytest.raises(ConfigError, match=message):
            search.tell(replace(result, **change))  # type: ignore[arg-type]
        search.tell(result)
        with pytest.raises(ConfigError, match="no such candidate waits"):
            search.tell(result)


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
    stop = threading.Event()
    with pytest.raises(Stopped), held_elsewhere as search, stop._cond:
        search.run(stop=stop, waiting=lambda message: setattr(stop, "_flag", True))


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


@pytest.mark.parametrize(("job_id", "patience"), [(None, 0), ("42", 3600)])
def test_only_a_driver_that_nobody_watches_is_patient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job_id: str | None, patience: float
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if job_id is not None:
        monkeypatch.setenv("SLURM_JOB_ID", job_id)
    with create(tmp_path) as search:
        assert search._drive().patience_s == patience
