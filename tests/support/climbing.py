"""Searches whose children are trained several times: what they measure, how they are killed, what they end in."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from contextlib import closing, suppress
from pathlib import Path

from evohpc.messages import Attempt, Result, Status
from evohpc.run_folder import RunDir
from evohpc.search.rebuild import rebuild
from evohpc.store.store import Store
from support.driving import Driving, InstantRunner, Tables, drive, make_run, tables
from support.killing import Killed, declare_dead, mortal


def measure(source: str, attempt: Attempt) -> Result | None:
    """Return the outcome of a program at a rung: the same in every search, bad for some, and lost at first for some."""
    digest = hashlib.sha256(f"{attempt.rung} {source}".encode()).digest()
    number, tries = int.from_bytes(digest[1:3]), attempt.attempt - (attempt.rung or 0)
    if attempt.rung is not None and digest[0] % 5 == 0 and tries == 1:
        return None
    if attempt.rung is not None and digest[0] % 5 == 1:
        return Result(attempt.candidate_id, attempt.attempt, Status.TIMEOUT, "too slow")
    error = number % 600 / 1000
    return Result(
        candidate_id=attempt.candidate_id,
        attempt=attempt.attempt,
        status=Status.TRAINED,
        num_params=100 + number,
        error=error,
        fitness=-(100 + number) * error,
        metrics={"acc": 1 - error, "rung": -1.0 if attempt.rung is None else float(attempt.rung)},
        seconds={"total": 1.0},
        source_sha256=hashlib.sha256(source.encode()).hexdigest(),
    )


def driven(run: RunDir) -> Tables:
    """Drive a search whose programs are worth what `measure` says; return its tables."""
    return drive(run, runner=InstantRunner(run, measure))


def by_candidate(rows: Tables) -> dict[str, list[tuple[str, float | None]]]:
    """Return of each candidate its results in order: status, and the rung at which it was measured."""
    found: dict[str, list[tuple[str, float | None]]] = defaultdict(list)
    for row in sorted(rows["results"], key=lambda row: (row["candidate_id"], row["attempt"])):
        found[row["candidate_id"]].append((row["status"], json.loads(row["metrics"]).get("rung")))
    return found


def undisturbed(folder: Path, config: str) -> tuple[Tables, int]:
    """Return the tables in which a search ends, and how many steps it took that a kill may come before."""
    run = make_run(folder / "undisturbed", config)
    with mortal() as steps:
        return driven(run), steps.taken


def kill(run: RunDir, step: int) -> None:
    """Drive a search until it is killed before this step."""
    with mortal(step), suppress(Killed):
        Driving(run, runner=InstantRunner(run, measure)).driver.drive()
    declare_dead(run)


def killed_and_resumed(folder: Path, config: str, *fatal: int) -> Tables:
    """Kill a search before these steps, each counted from the last kill; return the tables in which it ends."""
    run = make_run(folder, config)
    for step in fatal:
        kill(run, step)
    with mortal():
        rows = driven(run)
        rebuild(run)
    with closing(Store.snapshot_reader(run.database)) as store:
        assert tables(store) == rows  # the files tell the same
    return rows
