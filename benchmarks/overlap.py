"""What it brings to evaluate children while others are drawn: `python benchmarks/overlap.py [--lm MODEL]`.

A round through the real driver, the store and all files included; the language model and the nodes of the candidates
are others' machines, so they wait here, for set times, and use no core. Drawing ends row by row, out of order; an
evaluation takes a time of its own, heavy-tailed, the same in each run. Wall seconds of the round, drawn first and
evaluated then, beside overlapped; the ratio is to the longer of drawing and evaluation alone.

With `--lm` the language model is a real one, on this machine, and the candidates' nodes are as before.
"""

from __future__ import annotations

import argparse
import heapq
import random
import tempfile
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from threading import Event

from rich.console import Console
from rich.table import Table

from evohpc import envelopes
from evohpc.config.search import load_config
from evohpc.driver.progress import Progress
from evohpc.evolution.screening import candidate_id
from evohpc.files import write_once
from evohpc.jobs.shared import SharedRunner
from evohpc.lm import completions_file
from evohpc.lm_job.local import LocalLMJob
from evohpc.lm_job.scripted import ScriptedLMJob
from evohpc.messages import Attempt, Completion, EvaluationJob, LMRequest, Result, Status, TaskReport, TaskState
from evohpc.run_folder import RoundDir, RunDir, read_request
from evohpc.search import driving
from evohpc.search.search import Search

ROOT = Path(__file__).parent.parent
ROWS = 32
"""Completions that are drawn together."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A round: how long its two halves take alone."""

    children: int
    nodes: int
    drawing_s: float
    evaluation_s: float
    queue_s: float = 0.5
    """Before the first task of an array begins."""


class WaitingLM(ScriptedLMJob):
    """Draws `ROWS` completions at a time, each as long as chance has it; all of them take a set time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._ends: list[tuple[float, Completion]] = []

    def start(self, round: RoundDir) -> None:
        self._round, self._request = round, read_request(round)
        drawn, now = self._draw(self._request), time.monotonic()
        ends = _drawing_ends(round.name, len(drawn), self._seconds)
        self._ends = sorted(
            ((now + end, c) for end, c in zip(ends, drawn, strict=True)), key=itemgetter(0), reverse=True
        )

    def poll(self) -> bool:
        while self._ends and self._ends[-1][0] <= time.monotonic():
            completions_file.append(self._round.completions, [self._ends.pop()[1]])
        if not self._ends:
            completions_file.close(self._round.completions, self._request)
        return not self._ends

    def _draw(self, request: LMRequest) -> list[Completion]:
        """Make each child another program."""
        drawn = enumerate(super()._draw(request))
        return [replace(one, text=f"{_body(number)}", stop="class_end") for number, one in drawn]


class Nodes:
    """A `JobRunner` whose candidates run elsewhere: results appear after their time on one of so many nodes."""

    def __init__(self, run: RunDir, run_id: str, shape: Shape, seconds: Mapping[str, float]) -> None:
        self._run, self._run_id, self._shape, self._seconds = run, run_id, shape, seconds
        self._free = [0.0] * shape.nodes
        self._states: dict[str, list[tuple[float, float]]] = {}
        self.arrays = 0

    def submit(self, job: EvaluationJob) -> None:
        if job.name in self._states:
            return
        self.arrays += job.round >= 0
        begin = time.monotonic() + (self._shape.queue_s if job.round >= 0 else 0)
        self._states[job.name] = [self._plan(job, begin, task) for task in job.tasks]

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        now = time.monotonic()
        return {name: [TaskReport(_state(now, *span)) for span in self._states[name]] for name in sizes}

    def cancel(self, names: Collection[str]) -> None: ...

    def close(self) -> None: ...

    def _plan(self, job: EvaluationJob, begin: float, task: Sequence[Attempt]) -> tuple[float, float]:
        start = max(begin, heapq.heappop(self._free))
        end = start
        for attempt in task:
            end += self._seconds.get(attempt.candidate_id, 0.0)
            path = self._run.round(job.round).result(attempt.candidate_id, attempt.attempt)
            data = envelopes.seal(self._run_id, 1, _result(attempt.candidate_id))
            timer = threading.Timer(end - time.monotonic(), write_once, [path, data])
            timer.daemon = True
            timer.start()
        heapq.heappush(self._free, end)
        return start, end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lm", type=Path, help="folder of a real model")
    parser.add_argument("--children", type=int, default=160)
    parser.add_argument("--seconds", type=float, default=40.0, help="of the shorter half")
    arguments = parser.parse_args()
    table = Table("children, nodes", "drawing, s", "evaluation, s", "one after the other, s", "overlapped, s", *RATIOS)
    for nodes, drawing, evaluation in ((8, 1, 1), (32, 1, 1), (8, 2, 1), (8, 1, 2)):
        seconds = arguments.seconds
        shape = Shape(arguments.children, nodes, drawing * seconds, evaluation * seconds)
        table.add_row(*compared(shape, arguments.lm))
        if arguments.lm:
            break
    Console().print(table)


RATIOS = ("against the longer half", "the least possible", "arrays")


def compared(shape: Shape, lm: Path | None) -> list[str]:
    """Return one line of the table."""
    one_by_one, _, halves = timed(shape, lm, overlaps=False)
    overlapped, arrays, _ = timed(shape, lm, overlaps=True)
    longer = max(halves)
    seconds = [*halves, one_by_one, overlapped]
    return [
        f"{shape.children}, {shape.nodes}",
        *(f"{value:.1f}" for value in seconds),
        f"{overlapped / longer:.2f} (was {one_by_one / longer:.2f})",
        "" if lm else f"{least(shape) / longer:.2f}",
        str(arrays),
    ]


def least(shape: Shape) -> float:
    """Return the seconds of a round in which each child begins on the next free node once it and all before it are
    drawn, and nothing else takes time."""
    free, prefix = [0.0] * shape.nodes, 0.0
    ends = list(_drawing_ends("000", shape.children, shape.drawing_s))
    for end, took in zip(ends, _evaluations(shape).values(), strict=True):
        prefix = max(prefix, end)
        heapq.heappush(free, max(prefix, heapq.heappop(free)) + took)
    return max(free)


def timed(shape: Shape, lm: Path | None, *, overlaps: bool) -> tuple[float, int, tuple[float, float]]:
    """Return the wall seconds of round 0, its arrays, and the seconds of its two halves: what is between the steps that
    the driver tells."""
    with tempfile.TemporaryDirectory(prefix="evohpc-benchmark-") as folder, ExitStack() as resources:
        search = Search.create(Path(folder, "run"), load_config(_config(Path(folder), shape, lm)))
        driver = driving.become_driver(
            search.folder, search.run_id, resources, config=search.config, site=None, waiting=print, stop=Event()
        )
        nodes = Nodes(search.folder, search.run_id, shape, _evaluations(shape))
        driver.lm, driver.at_work.runner = LocalLMJob() if lm else WaitingLM(shape.drawing_s), SharedRunner(nodes)
        driver.overlaps = overlaps
        if lm:
            resources.callback(driver.lm.close)
        steps: dict[str, float] = {}

        def observe(now: Progress) -> None:
            steps.setdefault(f"{now.round} {now.step}", time.monotonic())

        driver.observe = observe
        driver.drive()
        begun, drawn, closed = (steps[f"0 {step}"] for step in ("propose", "screen", "close"))
        return closed - begun, nodes.arrays, (drawn - begun, closed - drawn)


def _config(folder: Path, shape: Shape, lm: Path | None) -> Path:
    engine = (
        f"path: {lm.absolute()}, dtype: bfloat16, batch_size: {ROWS}, max_new_tokens: 256" if lm else "engine: scripted"
    )
    path = folder / "config.yaml"
    path.write_text(
        f"task: mnist1d\nseeds: {ROOT / 'seeds' / 'mnist1d'}\nlm: {{{engine}}}\n"
        f"search: {{rounds: 1, samples_per_prompt: {shape.children // 10}, error_threshold: 1.0}}\n"
    )
    return path


def _drawing_ends(name: str, count: int, seconds: float) -> list[float]:
    """Return after how many seconds each completion is drawn."""
    rng, rows, ends = random.Random(name), [0.0] * ROWS, []
    for _ in range(count):
        ends.append(heapq.heappop(rows) + rng.uniform(0.5, 1.5))
        heapq.heappush(rows, ends[-1])
    return [end * seconds / max(rows) for end in ends]


def _evaluations(shape: Shape) -> dict[str, float]:
    """Return how long each child takes, such that all take a set time on so many nodes if each takes the next."""
    rng, free = random.Random(shape.children), [0.0] * shape.nodes
    seconds = {}
    for prompt in range(10):
        for sample in range(shape.children // 10):
            seconds[candidate_id(0, prompt, sample)] = took = min(rng.lognormvariate(0, 0.7), 5.0)
            heapq.heappush(free, heapq.heappop(free) + took)
    scale = shape.evaluation_s / max(free)
    return {id: took * scale for id, took in seconds.items()}


def _body(number: int) -> str:
    """Return the body of a program that no other child is."""
    return (
        "    def __init__(self):\n        super().__init__()\n"
        f"        self.a = nn.Linear(40, {number + 2})\n        self.b = nn.Linear({number + 2}, 10)\n\n"
        "    def forward(self, x):\n        return self.b(self.a(x))\n"
    )


def _state(now: float, start: float, end: float) -> TaskState:
    return TaskState.WAITING if now < start else TaskState.RUNNING if now < end + 1 else TaskState.ENDED


def _result(id: str) -> Result:
    error = 0.2 + sum(id.encode()) % 100 / 400
    return Result(id, 1, Status.TRAINED, "", 5000, error, -5000 * error, {"val_accuracy": 1 - error}, {"total": 1.0})


if __name__ == "__main__":
    main()
