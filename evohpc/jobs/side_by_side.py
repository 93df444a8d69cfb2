"""What one array task runs that evaluates several candidates at the same time (`evaluation.candidates_at_once`).

Each place is a worker process with its share of the task's cores and GPUs. A worker that dies takes its attempt with
it, which the driver will find lost, and is replaced. A place that cannot evaluate, say for a broken GPU, leaves its
attempts to the others; if none is left, that is the result of all that wait.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.search import load_resolved
from evohpc.errors import EvaluationError, EvohpcError
from evohpc.evaluation import worker
from evohpc.evaluation.orders import TaskOrder, attempts_of, refuse, without_result
from evohpc.jobs.array_task import Work
from evohpc.jobs.shares import Share, deal
from evohpc.jobs.worker_process import Worker
from evohpc.run_folder import RunDir

log = logging.getLogger(__name__)

Start = Callable[[Path, Share], Worker]


def work_of(config: EvaluationConfig) -> Work:
    """Return what the array tasks of a search run."""
    return worker.run_array_task if config.candidates_at_once == 1 else run_array_task


def run_array_task(run: str, round: int, name: str, index: int, start: Start = Worker) -> None:
    """Do what `evohpc.evaluation.worker.run_array_task` does, several candidates at a time."""
    folder, order = RunDir(Path(run)), TaskOrder(round, name, index)
    try:
        at_once = load_resolved(folder.config).evaluation.candidates_at_once
    except EvohpcError as error:
        refuse(folder, order, error)
        return
    queue = _Queue(without_result(folder.round(round), attempts_of(folder, order)))
    shares = deal(os.environ, os.sched_getaffinity(0), at_once)
    places = [_Place(folder, order, share, queue, start) for share in shares[: len(queue.waiting)]]
    try:
        _work(places)
    finally:
        for place in places:
            place.stop()
        for place in places:
            place.close()
    for only in queue.waiting:
        refuse(folder, replace(order, only=only), next(place.refusal for place in places if place.refusal))


def _work(places: list[_Place]) -> None:
    """Evaluate what waits; return when all is done, or every place has refused."""
    threads = [threading.Thread(target=place.work, daemon=True) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _Queue:
    """The attempts that nobody has begun, by their indices in the task."""

    def __init__(self, waiting: Sequence[int]) -> None:
        self.waiting = deque(waiting)
        self._begun = 0
        self._changed = threading.Condition()

    def take(self) -> int | None:
        """Return the next attempt; None once none waits and none that was begun can come back."""
        with self._changed:
            while not self.waiting and self._begun:
                self._changed.wait()
            if not self.waiting:
                return None
            self._begun += 1
            return self.waiting.popleft()

    def end(self, given_back: int | None) -> None:
        """Know that a place is done with an attempt; with the one that it gives back, another place is to begin."""
        with self._changed:
            self._begun -= 1
            if given_back is not None:
                self.waiting.append(given_back)
            self._changed.notify_all()


@dataclass
class _Place:
    """Evaluates one attempt after the other, in a worker process."""

    run: RunDir
    task: TaskOrder
    share: Share
    queue: _Queue
    """Common to all."""
    start: Start
    refusal: EvaluationError | None = field(default=None, init=False)
    """Why it cannot evaluate."""
    _worker: Worker | None = field(default=None, init=False)
    _is_stopped: bool = field(default=False, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def work(self) -> None:
        """Evaluate what waits, until nothing does, or this place cannot. No sooner: the kernel ends a worker with the
        thread that started it."""
        while self.refusal is None and (only := self.queue.take()) is not None:
            try:
                self._evaluate(only)
            except (EvaluationError, OSError) as error:  # an OSError: no process, for want of memory or of processes
                log.warning("%s: this place evaluates no more: %s", self.share, error)
                self.refusal = EvaluationError(str(error))
                self.queue.end(only)
            except Exception:  # no result, so the driver will call it lost; the others must not wait for it
                log.exception("attempt %d of the task", only)
                self.queue.end(None)
            else:
                self.queue.end(None)

    def stop(self) -> None:
        """End its candidate and its worker, at once."""
        with self._lock:
            self._is_stopped = True
            if self._worker is not None:
                self._worker.stop()

    def close(self) -> None:
        """Wait for its worker's end."""
        if self._worker is not None:
            self._worker.close()

    def _evaluate(self, only: int) -> None:
        if (process := self._alive()) is None:
            return
        report = process.run(replace(self.task, only=only, is_followed=bool(self.queue.waiting)))
        if report.reason:
            log.warning("attempt %d of the task: %s", only, report.reason)

    def _alive(self) -> Worker | None:
        """Return its worker, a new one if the last has died; None if this place is stopped."""
        with self._lock:
            if self._is_stopped:
                return None
            if self._worker is None or not self._worker.is_alive:
                if self._worker is not None:
                    self._worker.close()
                self._worker = self.start(self.run.path, self.share)
            return self._worker
