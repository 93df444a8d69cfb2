"""Makes a run's database anew from the run folder, whose files are the truth.

Everything is replayed through the ledger's own verbs into a file aside, which then takes the database's place. A kill
on the way leaves the old one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from evohpc.config.search import Config, load_config
from evohpc.driver import lease
from evohpc.driver.intake import Ledger
from evohpc.errors import LMError
from evohpc.evolution.population import Budget
from evohpc.lm import completions_file
from evohpc.messages import SEED_ROUND
from evohpc.run_folder import RunDir, read_request
from evohpc.search import creation
from evohpc.store.store import Store
from evohpc.tasks.data import interface


def rebuild(run: RunDir, *, observe: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Make `search.db` anew; return how many rounds it holds, the seeds' not counted.

    Args:
        observe: told (rounds replayed, rounds there may be).

    Raises:
        LeaseError: a living driver holds the run.
        RunFolderError: this is no run folder, or a request in it cannot be read.
    """
    run_id, config = creation.run_id(run), load_config(run.config)
    held = lease.acquire(run, forgotten=partial(Store.last_epoch, run.database))
    try:
        aside = run.database.with_name(f".rebuild-{run.database.name}")
        _remove(aside)
        store = Store(aside, epoch=held.epoch)
        # No machine fault counts as final while it may be followed by another attempt: retries may have been changed.
        patient = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"retries": 10**9})})
        ledger = Ledger(run, run_id, patient, interface(run), store)
        rounds = _replay(ledger, config, observe)
        store.snapshot(run.snapshot)
        store.close()
        _swap(aside, run.database)
        return rounds
    finally:
        held.release()


def retry(run: RunDir) -> int:
    """Give candidates of the open round that machine faults used up another set of attempts; return how many.

    Raises:
        LeaseError: a living driver holds the run.
        RunFolderError: this is no run folder.
    """
    creation.run_id(run)
    config = load_config(run.config)
    rounds = rebuild(run)
    if not _has_given_up(run, rounds - 1):
        return 0
    before = _pending(run, rounds)
    retries = config.evaluation.retries
    more = config.evaluation.model_copy(update={"retries": 2 * retries + 1})
    creation.save_config(run, config.model_copy(update={"evaluation": more}))
    return _pending(run, rebuild(run)) - before


def _replay(ledger: Ledger, config: Config, observe: Callable[[int, int], None]) -> int:
    budget = Budget.of(config.search)
    for round in range(SEED_ROUND, budget.rounds):
        observe(round - SEED_ROUND, budget.rounds + 1)
        if not _admit(ledger, round):
            return round
        ledger.collect(round)
        is_closed = ledger.run.round(round).survivors.exists()
        ledger.give_up(round, 0 if is_closed else config.evaluation.retries)
        if not is_closed:
            return round + 1
        ledger.close(round)
    return budget.rounds


def _admit(ledger: Ledger, round: int) -> bool:
    """Enter the candidates of a round; return False if it has not come that far."""
    if round == SEED_ROUND:
        ledger.admit_seeds()
        return True
    folder = ledger.run.round(round)
    if not folder.request.exists():
        return False
    request = read_request(folder)
    try:
        completions = completions_file.read_complete(folder.completions, request)
    except LMError:  # the LM job had not ended
        return False
    ledger.admit_children(request, completions)
    return True


def _pending(run: RunDir, rounds: int) -> int:
    store = Store.snapshot_reader(run.snapshot)
    try:
        return len(store.pending(rounds - 1))
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
    _journal(database).unlink(missing_ok=True)
    aside.replace(database)
    folder = os.open(database.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove(database: Path) -> None:
    _journal(database).unlink(missing_ok=True)
    database.unlink(missing_ok=True)


def _journal(database: Path) -> Path:
    """Return the rollback journal, which SQLite would play back into any later file of the database's name."""
    return database.with_name(f"{database.name}-journal")
