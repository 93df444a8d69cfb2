"""Makes this process the driver of a run: the lease, the store, the runner and the LM job, and what closes them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event

from evohpc.config.search import Config
from evohpc.config.site import Site
from evohpc.driver import lease
from evohpc.driver.driver import Driver, Stopped
from evohpc.driver.intake import Intake
from evohpc.driver.patience import Patience
from evohpc.driver.progress import Progress
from evohpc.errors import EvohpcError, RunFolderError, StorageError
from evohpc.files import write_atomic
from evohpc.jobs.base import JobRunner
from evohpc.jobs.local import LocalRunner
from evohpc.lm_job.base import LMJob
from evohpc.lm_job.local import LocalLMJob
from evohpc.lm_job.scripted import ScriptedLMJob
from evohpc.messages import SEED_ROUND, TaskInterface
from evohpc.run_folder import RunDir
from evohpc.search import backups
from evohpc.store.store import Store
from evohpc.tasks.data import prepare

UNATTENDED_PATIENCE_S = 3600.0
"""How long a driver in a Slurm job, which nobody watches, lets a file system refuse."""

NOTE_EVERY_S = 15.0
"""Seconds between two writings of progress.json within a step."""

_LOOK_EVERY_S = 0.1
"""Seconds between two looks at whether a search is to stop."""


class Noted:
    """Tells an observer, and leaves a note of it in progress.json now and then."""

    def __init__(self, path: Path, observe: Callable[[Progress], None]) -> None:
        self._path, self._observe = path, observe
        self._last: tuple[object, ...] = ()
        self._next = float("-inf")
        self._note: dict[str, object] = {"round": SEED_ROUND, "rounds": 0, "step": "evaluate", "done": 0, "total": 1}

    def __call__(self, progress: Progress) -> None:
        self._observe(progress)
        place = (progress.round, progress.step, progress.held)
        if place != self._last or time.monotonic() >= self._next:
            self._last, self._next = place, time.monotonic() + NOTE_EVERY_S
            self._note = {
                name: getattr(progress, name) for name in ("round", "rounds", "step", "done", "total", "held")
            }
            self._write()

    def failed(self, error: Exception) -> None:
        """Leave a note of why the driver ends, until the next one begins."""
        reason = str(error) if isinstance(error, EvohpcError) else f"{type(error).__name__}: {error}"
        with suppress(EvohpcError):  # the disk may be what is full
            self._write(held=(), failure=" ".join(reason.split()))

    def _write(self, **more: object) -> None:
        note = {**self._note, **more, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        write_atomic(self._path, json.dumps(note))


def become_driver(
    run: RunDir,
    run_id: str,
    resources: ExitStack,
    *,
    config: Config,
    site: Site | None,
    waiting: Callable[[str], None],
    stop: Event,
) -> Driver:
    """Take the lease of a run and put together all that drives it.

    Args:
        resources: closes it all again, in the order that lets nothing get lost.
        waiting: told when another driver may still hold the run.
        stop: ends that wait.

    Raises:
        Stopped: `stop` was set.
        LeaseError: a living driver holds the run.
        RunFolderError: the database is damaged, or the task file is missing.
    """
    forgotten, sleep = partial(Store.last_epoch, run.database), partial(_sleep, stop)
    held = resources.enter_context(lease.acquire(run, forgotten=forgotten, waiting=waiting, sleep=sleep))
    intake = Intake(run, run_id, config, _task(run, config), _store(run, held.epoch, resources))
    runner, lm = job_runner(run, config, site, intake.store), lm_job(run, config, site)
    driver = Driver(intake, held, lm, runner)
    driver.overlaps = config.lm.overlap == "always" or (config.lm.overlap == "auto" and site is not None)
    driver.grace_s = 0.0 if site is None else site.scheduler.grace_s
    driver.patience_s = _patience_s()
    resources.callback(_last_snapshot, driver)
    resources.enter_context(closing(runner))
    resources.enter_context(closing(lm))
    return driver


def patiently(begin: Callable[[], Driver], stop: Event) -> Driver:
    """Become a driver; where nobody looks on, go on trying while the file system refuses that.

    Args:
        begin: what may be refused; it leaves nothing open then.
        stop: ends the wait.

    Raises:
        Stopped: `stop` was set.
        StorageError, OSError: the file system has refused for as long as it may.
        EvohpcError: see `become_driver`.
    """
    patience = Patience(_patience_s())
    while True:
        try:
            return begin()
        except (StorageError, OSError) as error:
            patience.outlast(error, partial(_sleep, stop))


def _patience_s() -> float:
    return UNATTENDED_PATIENCE_S if "SLURM_JOB_ID" in os.environ else 0.0


def _sleep(stop: Event, seconds: float) -> None:
    if wait_for(stop, seconds):
        raise Stopped


def _task(run: RunDir, config: Config) -> TaskInterface:
    if config.task.file is not None and not run.task_file.is_file():
        raise RunFolderError(f"{run.task_file} is missing, the run's copy of its task file; copy that file there again")
    return prepare(run)


def _store(run: RunDir, epoch: int, resources: ExitStack) -> Store:
    store = resources.enter_context(closing(Store(run.database, epoch=epoch)))
    backups.check_against_snapshot(store, run.snapshot)
    resources.callback(_leave, store, run.snapshot)  # only what was found to be sound
    return store


def _leave(store: Store, snapshot: Path) -> None:
    with suppress(EvohpcError):  # the next driver looks at all of it, then
        store.leave(snapshot)


def _last_snapshot(driver: Driver) -> None:
    """Leave readers the end; neither a full disk nor a successor keeps anyone from stopping."""
    with suppress(EvohpcError):
        driver.snapshot()
        driver.stopper.clock.note()


def wait_for(stop: Event, seconds: float) -> bool:
    """Wait that long, or until `stop` is set; say whether it is.

    Not by `stop.wait`, whose lock `stop.set` needs too: a signal handler that interrupts the one would wait for ever in
    the other.
    """
    until = time.monotonic() + seconds
    while not stop.is_set() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_EVERY_S))
    return stop.is_set()


def job_runner(run: RunDir, config: Config, site: Site | None, store: Store | None = None) -> JobRunner:
    """Return what evaluates the candidates of a run: this machine, or its site's Slurm.

    Args:
        store: says on which nodes attempts failed; needed to submit.
    """
    if site is None:
        return LocalRunner(run.path, config.evaluation.workers)
    from evohpc.jobs.slurm import SlurmRunner  # submitit takes a while to import

    after = site.evaluation.exclude_after

    def faulty() -> list[str]:
        return [node.name for node in store.faulty_nodes(after)] if store is not None and after else []

    return SlurmRunner(run.path, site, config.evaluation, faulty=faulty)


def lm_job(run: RunDir, config: Config, site: Site | None) -> LMJob:
    """Return what draws the completions of a run."""
    if config.lm.engine == "scripted":
        return ScriptedLMJob()
    if site is None or site.lm is None:
        return LocalLMJob()
    from evohpc.lm_job.slurm import SlurmLMJob

    return SlurmLMJob(run.path, site)
