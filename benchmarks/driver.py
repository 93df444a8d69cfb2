"""What the driver costs per candidate, and how long a search of any size takes to open: `python benchmarks/driver.py`.

Everything but the LM and the training: proposing, screening, handing out, collecting, selecting, all writes with their
fsyncs. Rounds of 10 prompts x 16 children, on stores that already hold N candidates. CPU seconds of its process;
the stand-ins for the LM and the evaluations are timed apart and taken off.
"""

from __future__ import annotations

import argparse
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event

from rich.console import Console
from rich.table import Table

from evohpc import envelopes
from evohpc.config.search import load_config
from evohpc.driver.driver import Driver
from evohpc.evolution import population
from evohpc.files import write_once
from evohpc.jobs.shared import SharedRunner
from evohpc.lm_job.scripted import ScriptedLMJob
from evohpc.messages import Candidate, EvaluationJob, Result, Status, TaskReport, TaskState
from evohpc.run_folder import RoundDir, RunDir
from evohpc.search import driving
from evohpc.search.search import Search
from evohpc.store.store import Store

ROOT = Path(__file__).parent.parent
PER_ROUND = 160
OPEN = """
import sys
from contextlib import ExitStack
from threading import Event
from evohpc.search import driving
from evohpc.search.search import Search

search = Search.open(sys.argv[1])
how = dict(config=search.config, site=search.site, waiting=print, stop=Event())
with ExitStack() as resources:
    driving.become_driver(search.folder, search.run_id, resources, **how)
"""


class Meter:
    """CPU seconds spent in what is not the driver's work."""

    def __init__(self) -> None:
        self.outside = 0.0
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.process_time()

    def __exit__(self, *error: object) -> None:
        self.outside += time.process_time() - self._started


class InstantLM(ScriptedLMJob):
    """Answers at once; its own work is metered."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def start(self, round: RoundDir) -> None:
        with self._meter:
            super().start(round)


class InstantRunner:
    """Writes a result for each attempt when it is handed out; its own work is metered."""

    def __init__(self, run: RunDir, run_id: str, meter: Meter) -> None:
        self._run, self._run_id, self._meter = run, run_id, meter

    def submit(self, job: EvaluationJob) -> None:
        with self._meter:
            for attempt in (attempt for task in job.tasks for attempt in task):
                path = self._run.round(job.round).result(attempt.candidate_id, attempt.attempt)
                write_once(path, envelopes.seal(self._run_id, 1, _result(attempt.candidate_id)))

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        return {name: [TaskReport(TaskState.ENDED)] * size for name, size in sizes.items()}

    def cancel(self, names: Collection[str]) -> None: ...

    def close(self) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3, help="rounds to measure at each size")
    arguments = parser.parse_args()
    table = Table("candidates in the store", *UNITS)
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="evohpc-benchmark-") as folder:
            run = filled(Path(folder), size, arguments.rounds)
            timed_open(run)  # leaves it as drivers do
            opened = timed_open(run)
            # In a new process, whose peak is its own.
            code = "import sys, driver; driver.print_rounds(driver.RunDir(driver.Path(sys.argv[1])))"
            done = subprocess.run(
                [sys.executable, "-c", code, run.path], cwd=Path(__file__).parent, stdout=subprocess.PIPE, check=True
            )
            table.add_row(f"{size:,}", *(f"{value:.2f}" for value in (opened, *json.loads(done.stdout))))
    Console().print(table)
    Console().print(f"evohpc --help: {timed_help():.2f} s")


UNITS = ("open and close, CPU s", "CPU ms per candidate", "wall ms per candidate", "snapshot, s", "peak MB")


def print_rounds(run: RunDir) -> None:
    """Print what the rounds that are left cost, and the peak memory of this process."""
    print(json.dumps([*timed_rounds(run), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def filled(folder: Path, size: int, rounds: int) -> RunDir:
    """Return a run whose seeds and a number of rounds are over, with `size` children."""
    closed = max(1, -(-size // PER_ROUND))
    (folder / "config.yaml").write_text(
        f"task: mnist1d\nseeds: {ROOT / 'seeds' / 'mnist1d'}\nlm: {{engine: scripted}}\n"
        f"search: {{rounds: {closed + rounds}, error_threshold: 1.0}}\n"
    )
    with Search.create(folder / "run", load_config(folder / "config.yaml")) as search:
        for candidate in search.ask():
            search.tell(_result(candidate.id))
        search.ask()
    run = RunDir(folder / "run")
    with closing(sqlite3.connect(run.database)) as database, database:
        database.execute("DELETE FROM candidates WHERE round >= 0")
    store = Store(run.database, epoch=2)
    source = (run.seeds / "cnn.py").read_text()
    for round in range(closed):
        children = [_child(round, index, source) for index in range(min(PER_ROUND, size - round * PER_ROUND))]
        results = [_result(child.id) for child in children]
        with store.write():
            store.add_candidates(children)
            store.add_results(results)
            store.conclude(results)
            store.add_to_pool(round, results)
            parents = population.get_top(store.pool(), 10)
            store.close_round(round, parents, parents)
    store.snapshot(run.snapshot)
    store.close()
    return run


@contextmanager
def driver_of(run: Path) -> Iterator[Driver]:
    """Become the driver of a run."""
    with ExitStack() as resources:
        search = Search.open(run)
        yield driving.become_driver(
            search.folder, search.run_id, resources, config=search.config, site=search.site, waiting=print, stop=Event()
        )


def timed_open(run: RunDir) -> float:
    """Return the CPU seconds of a process that becomes the driver of a run and ends."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", OPEN, run.path], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def timed_rounds(run: RunDir) -> tuple[float, float, float]:
    """Return CPU and wall milliseconds per candidate of the rounds that are left, and the seconds of a snapshot."""
    meter = Meter()
    with driver_of(run.path) as driver:
        driver.lm = InstantLM(meter)
        driver.at_work.runner = SharedRunner(InstantRunner(run, driver.intake.run_id, meter))
        before, cpu, wall = _count(driver), time.process_time(), time.monotonic()
        driver.drive()
        cpu, wall = time.process_time() - cpu - meter.outside, time.monotonic() - wall
        new = _count(driver) - before
        run.snapshot.unlink()  # or it would be known to say it all
        started = time.monotonic()
        driver.snapshot()
        return 1e3 * cpu / new, 1e3 * wall / new, time.monotonic() - started


def timed_help() -> float:
    """Return the wall seconds of `evohpc --help`, the best of five."""
    times = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "evohpc", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - started)
    return min(times)


def _count(driver: Driver) -> int:
    return sum(driver.intake.store.counts().values())


def _child(round: int, index: int, source: str) -> Candidate:
    id = f"r{round:03d}p{index // 16:02d}s{index % 16:03d}"
    return Candidate(id, round, index // 16, index % 16, ("seed-cnn",), 0.8, 90, source, id, Status.PENDING, "")


def _result(candidate_id: str) -> Result:
    number = sum(candidate_id.encode()) * 2654435761 % 1000
    error, size = 0.2 + number / 4000, 5000 + number
    return Result(
        candidate_id, 1, Status.TRAINED, "", size, error, -size * error, {"val_accuracy": 1 - error}, {"total": 60.0}
    )


if __name__ == "__main__":
    main()
