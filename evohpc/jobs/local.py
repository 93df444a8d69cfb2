"""Runs job arrays on this machine, in worker processes that live as long as the driver and end with it."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evohpc.errors import EvaluationError
from evohpc.evaluation.orders import TaskOrder
from evohpc.jobs.shares import Share, deal
from evohpc.jobs.worker_process import Worker
from evohpc.messages import EvaluationJob, Status, TaskReport, TaskState


class LocalRunner:
    """A `JobRunner` for one machine.

    Each worker is a `python -m evohpc.evaluation.worker --serve RUN` with its own fork server, and a thread here that
    feeds it. A worker that dies takes at most its own task with it, and is replaced. Workers have a session of their
    own, so a Ctrl-C in the terminal reaches the driver only; they die with the driver, however that ends. The GPUs that
    the driver was given by name (CUDA_VISIBLE_DEVICES) are dealt out to them.
    """

    def __init__(self, run: Path, workers: int, start: Callable[[Path, Share], Worker] | None = None) -> None:
        """`workers` of 0 means one per core that this process may use. `start` starts a worker for a run folder."""
        self._run = run
        self._start_process = start or Worker
        self._count = workers or len(os.sched_getaffinity(0))
        # Workers are as many as cores are: nobody said that so many shares of a GPU's memory are large enough.
        self._shares = [replace(share, gpu=1.0) for share in deal(os.environ, (), self._count)]
        self._queue: queue.SimpleQueue[TaskOrder | None] = queue.SimpleQueue()
        self._reports: dict[str, list[TaskReport]] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._workers: dict[threading.Thread, Worker] = {}
        self._running: dict[threading.Thread, TaskOrder] = {}
        self._refusal: EvaluationError | None = None
        self._closed = False

    def submit(self, job: EvaluationJob) -> None:
        """See `JobRunner.submit`."""
        if job.name in self._reports:
            return
        size = len(job.tasks)
        self._reports[job.name] = [TaskReport(TaskState.WAITING)] * size
        for index in range(size):
            self._queue.put(TaskOrder(job.round, job.name, index))
        self._start(min(self._count, len(self._threads) + size))

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        """See `JobRunner.poll`."""
        if self._refusal is not None:
            raise self._refusal
        unknown = TaskReport(TaskState.ENDED)
        with self._lock:
            return {name: tuple(self._reports.get(name, [unknown] * size)) for name, size in sizes.items()}

    def cancel(self, names: Collection[str]) -> None:
        """See `JobRunner.cancel`."""
        with self._lock:
            for name in names:
                reports = self._reports.get(name, [])
                reports[:] = [report if report.state is TaskState.ENDED else _cancelled() for report in reports]
            for thread, task in self._running.items():
                if task.name in names:
                    self._workers[thread].stop()

    def close(self) -> None:
        """End all evaluations and all workers."""
        self._closed = True
        self.cancel(list(self._reports))
        for _ in self._threads:
            self._queue.put(None)
        with self._lock:
            workers = list(self._workers.values())
        for worker in workers:
            worker.stop()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _start(self, count: int) -> None:
        while len(self._threads) < count:
            share = self._shares[len(self._threads)]
            thread = threading.Thread(
                target=self._feed, args=(share,), name=f"worker-{len(self._threads)}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _feed(self, share: Share) -> None:
        """Give tasks to one worker, and to those that replace it, until the runner is closed."""
        me = threading.current_thread()
        worker: Worker | None = None
        while (task := self._queue.get()) is not None and not self._closed:
            if not self._set(task, TaskReport(TaskState.RUNNING)):
                continue
            try:
                if worker is None or not worker.is_alive:
                    worker = self._start_worker(me, worker, share)
                if not self._begin(me, task):
                    continue
                report = worker.run(task)
            except EvaluationError as error:
                self._refusal, report = error, TaskReport(TaskState.ENDED, Status.CONTAINER_ERROR, str(error))
            except OSError as error:  # for want of memory or of processes, maybe only now
                report = TaskReport(TaskState.ENDED, Status.LOST, f"no worker can be started: {error}")
            except Exception as error:  # without this thread, the driver would wait for its tasks for ever
                report = TaskReport(TaskState.ENDED, Status.LOST, f"what its worker said is no answer: {error}")
                if worker is not None:
                    worker.stop()  # the rest of that would be taken for its next answer
            finally:
                with self._lock:
                    self._running.pop(me, None)
            self._set(task, report)
        if worker is not None:
            worker.close()

    def _start_worker(self, thread: threading.Thread, dead: Worker | None, share: Share) -> Worker:
        if dead is not None:
            dead.close()
        worker = self._start_process(self._run, share)
        with self._lock:
            self._workers[thread] = worker
        if self._closed:
            worker.stop()
        return worker

    def _begin(self, thread: threading.Thread, task: TaskOrder) -> bool:
        """Mark a task as running, so that its cancellation stops its worker; return False if it is cancelled."""
        with self._lock:
            if self._reports[task.name][task.index].state is TaskState.ENDED:
                return False
            self._running[thread] = task
            return True

    def _set(self, task: TaskOrder, report: TaskReport) -> bool:
        """Record the state of a task; return False if it has ended already (it was cancelled)."""
        with self._lock:
            reports = self._reports[task.name]
            if reports[task.index].state is TaskState.ENDED:
                return False
            reports[task.index] = report
            return True


def _cancelled() -> TaskReport:
    return TaskReport(TaskState.ENDED, Status.LOST, "cancelled")
