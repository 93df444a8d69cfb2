"""Makes a run's database anew from the run folder, whose files are the truth.

Everything is replayed through the intake's own verbs into a file aside, which then takes the database's place, unless
it holds less. A kill on the way leaves the old one.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from evohpc.config.search import Config, load_resolved
from evohpc.driver import lease, portions
from evohpc.driver.intake import Intake
from evohpc.errors import RunFolderError
from evohpc.evolution.population import Budget
from evohpc.files import sync_folder
from evohpc.messages import SEED_ROUND, Status
from evohpc.run_folder import RunDir, read_request
from evohpc.search import backups, creation
from evohpc.store import compare, schema
from evohpc.store.store import Store
from evohpc.tasks.data import interface

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What `rebuild` did."""

    rounds: int
    """How many rounds the database holds, the seeds' not counted."""
    before: Mapping[str, int] | None
    """Rows of each table of the database that was there; None if there was none that could be read."""
    after: Mapping[str, int]
    kept: tuple[Path, ...]
    """Copies of what was there and says anything else."""


def rebuild(
    run: RunDir, *, accept_loss: bool = False, observe: Callable[[int, int], None] = lambda done, total: None
) -> Rebuilt:
    """Make `search.db` and its snapshot anew. What they said before, and the files do not say, is kept beside them.

    Args:
        accept_loss: go on where the files hold less than the database or its snapshot, or where the database is that
            of another program.
        observe: told (rounds replayed, rounds there may be).

    Raises:
        LeaseError: a living driver holds the run.
        RunFolderError: this is no run folder, a request in it cannot be read, or rows would be lost; nothing was
            changed.
        StorageError: the file system refused; nothing was changed.
    """
    run_id, config = creation.run_id(run), load_resolved(run.config)
    with lease.acquire(run, forgotten=partial(Store.last_epoch, run.database)) as held, ExitStack() as old_files:
        if not accept_loss:
            schema.check_owner(run.database)
        old = _readable(old_files, run.database, lambda path: Store(path, epoch=held.epoch))
        snapshot = _readable(old_files, run.snapshot, Store.snapshot_reader)
        aside = run.database.with_name(f".rebuild-{run.database.name}")
        _remove(aside)
        try:
            with closing(Store(aside, epoch=held.epoch)) as store:
                rounds = _replay(Intake(run, run_id, _patient(config), interface(run), store), config, observe)
                if not accept_loss:
                    _check_loss(run, store, [there for there in (old, snapshot) if there is not None])
                kept = tuple(_kept(run, store, old, snapshot))
                done = Rebuilt(rounds, None if old is None else _counts(old), _counts(store), kept)
                held.beat()
                store.snapshot(run.snapshot)
            held.beat()  # again: a copy takes long, and a successor may have the database open
            _swap(aside, run.database)
        finally:
            _remove(aside)
    return done


def _patient(config: Config) -> Config:
    """Let no machine fault count as final while another attempt may follow: retries may have been changed."""
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"retries": 10**9})})


def retry(run: RunDir) -> int:
    """Give candidates of the open round that machine faults used up another set of attempts; return how many.

    Raises:
        LeaseError: a living driver holds the run.
        RunFolderError: this is no run folder, or its files hold less than its database (see `rebuild`).
    """
    creation.run_id(run)
    config = load_resolved(run.config)
    rounds = rebuild(run).rounds
    if not _has_given_up(run, rounds - 1):
        return 0
    before = _pending(run, rounds)
    retries = config.evaluation.retries
    more = config.evaluation.model_copy(update={"retries": 2 * retries + 1})
    creation.save_config(run, config.model_copy(update={"evaluation": more}))
    return _pending(run, rebuild(run).rounds) - before


def given_up_for_good(run: RunDir) -> list[str]:
    """Return the candidates of closed rounds whose outcome is a machine fault, which `retry` cannot help: all rounds
    since were made without them.

    Raises:
        RunFolderError: there is no sound snapshot.
    """
    faults = [status for status in Status if status.is_machine_fault]
    with closing(Store.snapshot_reader(run.snapshot)) as store:
        return [entry.id for entry in store.every(statuses=faults) if store.is_closed(entry.candidate.round)]


def _readable(open_files: ExitStack, path: Path, open_store: Callable[[Path], Store]) -> Store | None:
    """Open a database that is there and sound; return None for any other."""
    if not path.exists():
        return None
    try:
        return open_files.enter_context(closing(open_store(path)))
    except RunFolderError as error:
        log.warning("%s", error)
        return None


def _check_loss(run: RunDir, store: Store, before: Sequence[Store]) -> None:
    """Refuse to replace what holds more than the files say.

    Raises:
        RunFolderError: it does.
    """
    for there in before:
        if lost := compare.missing(store, there):
            first = next((number for number in _rounds(there) if not _is_whole(store, there, number)), SEED_ROUND)
            command = f"evohpc rebuild {shlex.quote(str(run.path))} --accept-loss"
            raise RunFolderError(
                f"{there.path} holds {backups.in_words(lost)} that the files of this run do not tell of, from "
                f"{run.round(first).path} on; nothing was changed: put those files back, or go on without them: "
                f"`{command}` (it keeps a copy of that database)"
            )


def _rounds(store: Store) -> Iterator[int]:
    last = store.last_round()
    return iter(range(SEED_ROUND, SEED_ROUND if last is None else last + 1))


def _is_whole(store: Store, before: Store, round: int) -> bool:
    return store.counts(round) == before.counts(round) and store.is_closed(round) >= before.is_closed(round)


def _kept(run: RunDir, store: Store, old: Store | None, snapshot: Store | None) -> Iterator[Path]:
    """Copy what says anything that the new database does not; yield the copies."""
    if run.database.exists() and (old is None or not compare.equals(store, old)):
        yield backups.keep(run.database)
    says_the_same = [there for there in (store, old) if there is not None]
    if run.snapshot.exists() and not (snapshot and any(compare.equals(snapshot, there) for there in says_the_same)):
        yield backups.keep(run.snapshot)


def _counts(store: Store) -> dict[str, int]:
    return {table: store.count(table) for table in compare.LASTING}


def _replay(intake: Intake, config: Config, observe: Callable[[int, int], None]) -> int:
    budget = Budget.of(config.search)
    for round in range(SEED_ROUND, budget.rounds):
        observe(round - SEED_ROUND, budget.rounds + 1)
        if not _admit(intake, round):
            return round
        intake.collect(round)
        intake.give_up(round, config.evaluation.retries)
        folder = intake.run.round(round)
        if not folder.survivors.exists():
            return round + 1
        intake.give_up(round, 0, () if folder.archive.exists() else intake.late(round))
        intake.close(round)
    return budget.rounds


def _admit(intake: Intake, round: int) -> bool:
    """Enter the candidates of a round; return False if it has not come that far."""
    if round == SEED_ROUND:
        intake.admit_seeds()
        return True
    folder = intake.run.round(round)
    if not folder.request.exists():
        return False
    request = read_request(folder)
    completions = portions.known(folder, request)
    intake.admit_children(request, completions)
    return bool(completions)


def _pending(run: RunDir, rounds: int) -> int:
    store = Store.snapshot_reader(run.snapshot)
    try:
        return sum(len(store.pending(round)) for round in range(SEED_ROUND, rounds))
    finally:
        store.close()


def _has_given_up(run: RunDir, round: int) -> bool:
    """Say whether a round is open and machine faults are the outcome of some of its candidates."""
    store = Store.snapshot_reader(run.snapshot)
    try:
        return not store.is_closed(round) and any(status.is_machine_fault for status in store.counts(round))
    finally:
        store.close()


def _swap(aside: Path, database: Path) -> None:
    _remove_logs(database)
    aside.replace(database)
    sync_folder(database.parent)


def _remove(database: Path) -> None:
    _remove_logs(database)
    database.unlink(missing_ok=True)


def _remove_logs(database: Path) -> None:
    """Remove the journals, which SQLite would play back into any later file of the database's name."""
    for part in ("-journal", "-wal", "-shm"):
        database.with_name(f"{database.name}{part}").unlink(missing_ok=True)
