"""Searches whose candidates are measured by arithmetic instead of training, shared by the tests that only need rows."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from evohpc.config.search import Config, load_config
from evohpc.driver.driver import Driver
from evohpc.messages import Candidate, Result, Status
from evohpc.search import creation, driving
from evohpc.search.search import Search
from support.evaluating import prepare_once
from support.paths import MNIST1D_SEEDS as SEEDS

CONFIG = """
task: mnist1d
seeds: SEEDS
search: {rounds: 2, prompts_per_round: 2, samples_per_prompt: 4, survivors: 3}
lm: {engine: scripted}
"""


def make_config(folder: Path, *overrides: str) -> Config:
    """Return the config of a small search."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "given.yaml"
    path.write_text(CONFIG.replace("SEEDS", str(SEEDS)))
    return load_config(path, overrides)


def measure(candidate: Candidate, attempt: int = 1) -> Result:
    """Return the outcome of a candidate, the same for the same source."""
    digest = hashlib.sha256(candidate.source.encode()).digest()
    error, size = digest[0] / 512, 1000 + digest[1]
    return Result(
        candidate_id=candidate.id,
        attempt=attempt,
        status=Status.TRAINED,
        num_params=size,
        error=error,
        fitness=-size * error,
        metrics={"val_accuracy": 1 - error},
        seconds={"total": 1.0},
        host="here",
    )


def finish(search: Search) -> None:
    """Evaluate all that a search asks for."""
    while candidates := search.ask():
        for candidate in candidates:
            search.tell(measure(candidate))


def train_finalists(folder: Path, seed: int, fails: Collection[str] = ()) -> None:
    """Let each finalist of a verification train with one seed, or fail."""
    with Search.open(folder / f"seed-{seed}") as search:
        for candidate in search.ask():
            result = measure(candidate)
            if candidate.id.removeprefix("seed-") in fails:
                result = replace(result, status=Status.TIMEOUT, detail="too slow", fitness=None)
            search.tell(result)
        assert search.ask() == []


@contextmanager
def driver_of(run: Path) -> Iterator[Driver]:
    """Become the driver of a run, without a search around it."""
    with ExitStack() as resources:
        search = Search.open(run)
        yield driving.become_driver(
            search.folder,
            search.run_id,
            resources,
            config=search.config,
            site=search.site,
            waiting=pytest.fail,
            stop=Event(),
        )


def wish(finished: Path, folder: Path, *trackers: str) -> Path:
    """Return a copy of a search that is over, whose config has trackers that nobody has told of it yet."""
    shutil.copytree(finished, folder / "run")
    Search.create(folder / "run", make_config(folder, f"trackers=[{', '.join(trackers)}]")).close()
    return folder / "run"


def go_on(run: Path) -> None:
    """Drive a search that is over: there is nothing left to do but to tell of it."""
    with Search.open(run) as search:
        search.run()


@pytest.fixture
def made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a task's data made for the first run only that needs it."""
    monkeypatch.setattr(creation, "prepare", prepare_once)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose search is over. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    with Search.create(folder / "run", make_config(folder)) as search:
        finish(search)
    return folder / "run"
