"""From an order to result files: what of a run is to be evaluated is read there, and the results are written there."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from evohpc import envelopes
from evohpc.errors import EvohpcError, StorageError, TaskCodeError
from evohpc.evaluation.provenance import provenance
from evohpc.evaluation.verdict import one_line
from evohpc.files import write_atomic, write_once
from evohpc.messages import Attempt, EvaluationJob, Result, Status
from evohpc.run_folder import RoundDir, RunDir, read_provenance

log = logging.getLogger(__name__)

KeepLog = Callable[[bytes], None]

PATIENCE_S, RETRY_EVERY_S = 600.0, 10.0
"""How long a file system may refuse a result before it is given up, and seconds between two tries. Whom Slurm's
time limit ends before that is lost, as without a wait."""


@dataclass(frozen=True, slots=True)
class TaskOrder:
    """What a worker is to evaluate: an array task, or one attempt of it."""

    round: int
    name: str
    """Of the `EvaluationJob` in RUN/rounds/<round>/jobs/."""
    index: int
    """Of the task in it."""
    only: int | None = None
    """Index of the attempt in the task; None: all of them, one after the other."""
    is_followed: bool = False
    """With `only`: the worker will be given another one."""


class Evaluate(Protocol):
    """See `Evaluator.evaluate`."""

    def __call__(self, attempt: Attempt, source: bytes, keep_log: KeepLog, *, is_followed: bool) -> Result:
        """Evaluate one candidate."""


def refuse(run: RunDir, order: TaskOrder, error: EvohpcError) -> None:
    """Write why this host cannot evaluate as the result of each attempt that has none."""

    def evaluate(attempt: Attempt, source: bytes, keep_log: KeepLog, *, is_followed: bool) -> Result:
        raise error

    evaluate_task(run, order, evaluate)


def evaluate_task(run: RunDir, order: TaskOrder, evaluate: Evaluate) -> None:
    """Evaluate the attempts of an order that have no result yet, and write their results.

    A failure of one never keeps the next from being tried.
    """
    folder = run.round(order.round)
    if (found := _read_job(run, order)) is None:
        return
    job, seal = found
    attempts = job.tasks[order.index]
    for index, attempt in enumerate(attempts):
        if order.only not in (None, index):
            continue
        is_followed = order.is_followed or (order.only is None and bool(without_result(folder, attempts[index + 1 :])))
        try:
            _evaluate_attempt(folder, attempt, evaluate, seal, is_followed=is_followed)
        except Exception:  # no result, so the driver will call it lost and try again; the next one must have its turn
            log.exception("%s, attempt %d", attempt.candidate_id, attempt.attempt)


def without_result(folder: RoundDir, attempts: Sequence[Attempt]) -> list[int]:
    """Return the indices of the attempts that have no result yet."""
    results = (folder.result(attempt.candidate_id, attempt.attempt) for attempt in attempts)
    return [index for index, path in enumerate(results) if not path.exists()]


def attempts_of(run: RunDir, order: TaskOrder) -> Sequence[Attempt]:
    """Return the attempts of an array task; none if its round is over."""
    found = _read_job(run, order)
    return () if found is None else found[0].tasks[order.index]


def _read_job(run: RunDir, order: TaskOrder) -> tuple[EvaluationJob, Callable[[Result], bytes]] | None:
    """Return a job and what seals its results; None if the round is over: Slurm started the task again, or late."""
    folder = run.round(order.round)
    try:
        data = folder.job(order.name).read_bytes()
    except FileNotFoundError:
        if folder.archive.exists():
            return None
        raise
    envelope = json.loads(data)
    job = envelopes.unseal(data, _run_id(run), EvaluationJob)
    return job, partial(envelopes.seal, envelope["run_id"], int(envelope["epoch"]))


def _evaluate_attempt(
    folder: RoundDir, attempt: Attempt, evaluate: Evaluate, seal: Callable[[Result], bytes], *, is_followed: bool
) -> None:
    path = folder.result(attempt.candidate_id, attempt.attempt)
    if path.exists():
        return
    source = folder.candidate(attempt.candidate_id).read_bytes()

    def keep_log(text: bytes) -> None:
        try:
            write_atomic(folder.log(attempt.candidate_id, attempt.attempt), text)
        except StorageError as error:  # it is for people; what was measured does not depend on it
            log.warning("%s", error)

    try:
        result = evaluate(attempt, source, keep_log, is_followed=is_followed)
    except EvohpcError as error:
        log.warning("%s: %s", attempt.candidate_id, error)
        result = Result(
            attempt.candidate_id,
            attempt.attempt,
            Status.TASK_ERROR if isinstance(error, TaskCodeError) else Status.CONTAINER_ERROR,
            one_line(str(error)),
            **provenance(source, {}),
        )
    _hand_in(path, seal(result))


def _hand_in(path: Path, sealed: bytes) -> None:
    """Write a result. While the file system refuses, try again: it may have taken hours to measure.

    Raises:
        StorageError: it has refused for as long as it may.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            write_once(path, sealed)
            return
        except StorageError as error:
            if time.monotonic() >= until:
                raise
            log.warning("%s; trying again in %.0f s", error, RETRY_EVERY_S)
        time.sleep(RETRY_EVERY_S)


def _run_id(run: RunDir) -> str:
    return str(read_provenance(run)["run_id"])
