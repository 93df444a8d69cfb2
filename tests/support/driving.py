"""A small search that is driven in this process: a runner measures its candidates by arithmetic, at once."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from evohpc import envelopes
from evohpc.config.search import load_config
from evohpc.driver import lease
from evohpc.driver.driver import Driver
from evohpc.driver.intake import Intake
from evohpc.files import write_atomic, write_once
from evohpc.jobs.base import JobRunner
from evohpc.lm import completions_file
from evohpc.lm_job.base import LMJob
from evohpc.lm_job.scripted import ScriptedLMJob
from evohpc.messages import (
    Attempt,
    Completion,
    EvaluationJob,
    Result,
    Status,
    TaskInterface,
    TaskReport,
    TaskState,
)
from evohpc.run_folder import RoundDir, RunDir, read_request
from evohpc.store.store import TABLES, Store

RUN_ID = "run-1"
PRELUDE = "import torch.nn as nn\n"
TASK = TaskInterface("t", "Model", "class Model(nn.Module):", PRELUDE, ("torch",), "acc")
CONFIG = """
task: mnist1d
seeds: seeds
lm: {engine: scripted}
search: {rounds: 3, prompts_per_round: 2, samples_per_prompt: 4, survivors: 3}
evaluation: {retries: 2, candidates_per_task: 3}
"""

Measure = Callable[[str, Attempt], Result | None]
"""(source, attempt) -> its result, or None for an attempt that ends without one."""


def program(width: int) -> str:
    return (
        f"{PRELUDE}\nclass Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        f"        self.a = nn.Linear(40, {width})\n        self.b = nn.Linear({width}, 10)\n\n"
        "    def forward(self, x):\n        return self.b(self.a(x))\n"
    )


def make_run(path: Path, config: str = CONFIG, seeds: Sequence[int] = (8, 16, 32)) -> RunDir:
    """Return a run folder as `creation` and the task's preparation leave it."""
    run = RunDir(path)
    write_atomic(run.config, config)
    write_atomic(run.provenance, json.dumps({"run_id": RUN_ID}))
    write_atomic(run.task_interface, envelopes.encode(TASK))
    for width in seeds:
        write_atomic(run.seeds / f"w{width}.py", program(width))
    return run


def measure(source: str, attempt: Attempt) -> Result | None:
    """Return the outcome of a program: the same in every search, bad for some, and lost at first for some."""
    digest = hashlib.sha256(source.encode())
    fate, number = digest.digest()[0] % 6, int.from_bytes(digest.digest()[1:3])
    if not attempt.candidate_id.startswith("seed-"):
        if fate == 0 and attempt.attempt == 1:
            return None
        if fate == 1:
            return Result(attempt.candidate_id, attempt.attempt, Status.TIMEOUT, "too slow")
    error = number % 600 / 1000
    return Result(
        candidate_id=attempt.candidate_id,
        attempt=attempt.attempt,
        status=Status.TRAINED,
        num_params=100 + number,
        error=error,
        fitness=-(100 + number) * error,
        metrics={"acc": 1 - error},
        source_sha256=digest.hexdigest(),
    )


class InstantRunner:
    """A `JobRunner` that has evaluated an array before `submit` returns. Knows nothing of an earlier one's jobs."""

    def __init__(self, run: RunDir, measure: Measure = measure) -> None:
        self._run, self._measure = run, measure
        self.submitted: list[EvaluationJob] = []
        self.is_closed = False

    def submit(self, job: EvaluationJob) -> None:
        path = self._run.round(job.round).job(job.name)
        assert envelopes.unseal(path.read_bytes(), RUN_ID, EvaluationJob) == job  # its tasks read it there
        if job in self.submitted:
            return
        for task in job.tasks:
            self.evaluate(job.round, task)
        self.submitted.append(job)

    def evaluate(self, round: int, attempts: Sequence[Attempt]) -> None:
        """Do what one array task does."""
        folder = self._run.round(round)
        for attempt in attempts:
            result = self._measure(folder.candidate(attempt.candidate_id).read_text(), attempt)
            if result is not None:
                path = folder.result(attempt.candidate_id, attempt.attempt)
                write_once(path, envelopes.seal(RUN_ID, 1, result))

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        return {name: [TaskReport(TaskState.ENDED)] * size for name, size in sizes.items()}

    def cancel(self, names: Collection[str]) -> None:
        raise AssertionError("the driver cancels nothing")

    def close(self) -> None:
        self.is_closed = True


class ShufflingRunner(InstantRunner):
    """Finishes a few tasks at each poll, in no order; and while the driver waits, if it waits by `wait`."""

    def __init__(self, run: RunDir, seed: int, measure: Measure = measure) -> None:
        super().__init__(run, measure)
        self._rng = random.Random(seed)
        self._running: list[tuple[str, int]] = []
        self.polls = self.waits = 0

    def submit(self, job: EvaluationJob) -> None:
        self.submitted.append(job)
        self._running += [(job.name, index) for index in range(len(job.tasks))]

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        self.polls += 1
        self._finish_some()
        state = {place: TaskReport(TaskState.RUNNING) for place in self._running}
        ended = TaskReport(TaskState.ENDED)
        return {name: [state.get((name, index), ended) for index in range(size)] for name, size in sizes.items()}

    def wait(self, seconds: float) -> bool:
        """Let nodes work between two looks of the driver, as real ones do."""
        self.waits += 1
        assert self.waits < 5000, "the search hangs"
        self._finish_some()
        return False

    def _finish_some(self) -> None:
        self._rng.shuffle(self._running)
        while self._running and self._rng.random() < 0.5:
            name, index = self._running.pop()
            job = next(job for job in self.submitted if job.name == name)
            self.evaluate(job.round, job.tasks[index])


class GradualLM(ScriptedLMJob):
    """Draws a few completions before each poll, out of order, as rows of a batch end; goes on where it was killed."""

    def __init__(self, seed: int = 0, most: int = 3) -> None:
        """`most` completions are drawn at once."""
        super().__init__()
        self._seed, self._most, self._round = seed, most, RoundDir(Path())
        self._left: list[Completion] = []

    def start(self, round: RoundDir) -> None:
        self._round, request = round, read_request(round)
        finished = completions_file.recover(round.completions, request)
        self._left = [drawn for drawn in self._draw(request) if (drawn.prompt, drawn.sample) not in finished]
        self._rng = random.Random(f"{self._seed} {round.name} {len(self._left)}")

    def poll(self) -> bool:
        if self._left:
            for _ in range(min(self._rng.randint(1, self._most), len(self._left))):
                next_one = self._left.pop(self._rng.randrange(min(3, len(self._left))))
                completions_file.append(self._round.completions, [next_one])
            return False
        completions_file.close(self._round.completions, read_request(self._round))
        return True


def never(seconds: float) -> bool:
    """Wait no time, and be asked to stop never."""
    return False


class Clock:
    """Time that passes only while the driver waits, or when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self, seconds: float) -> bool:
        self.advance(seconds)
        self.waits.append(seconds)
        return False

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Driving:
    """A driver with all that it holds; a context manager that gives it back."""

    def __init__(self, run: RunDir, *, lm: LMJob | None = None, runner: JobRunner | None = None, **driver: Any) -> None:
        self.run, self.config = run, load_config(run.config)
        self.lease = lease.acquire(run)
        self.store = Store(run.database, epoch=self.lease.epoch)
        self.intake = Intake(run, RUN_ID, self.config, TASK, self.store)
        self.lm, self.runner = lm or ScriptedLMJob(), runner or InstantRunner(run)
        self.driver = Driver(self.intake, self.lease, self.lm, self.runner, **{"wait": never, **driver})

    def __enter__(self) -> Driving:
        return self

    def __exit__(self, *error: object) -> None:
        self.lm.close()
        self.runner.close()
        self.store.close()
        self.lease.release()


Tables = dict[str, list[dict[str, Any]]]
"""Of each table its rows, by the names of their columns."""


def tables(store: Store) -> Tables:
    """Return all rows but for when a lost attempt was given up."""
    rows = {table: store.rows(table) for table in TABLES}
    results = [{name: value for name, value in row.items() if name != "finished_at"} for row in rows["results"]]
    return {**rows, "results": results}


def drive(run: RunDir, **parts: Any) -> Tables:
    """Drive a run to its end; return its tables."""
    with Driving(run, **parts) as driving:
        driving.driver.drive()
        return tables(driving.store)
