"""What evohpc costs on a search of 100,000 candidates: `python benchmarks/load.py`.

Writes the files of such a search (made up, the same at each call), has `evohpc rebuild` make its database, and runs the
commands that read it. Then a driver goes on with it while 1,000 results a minute arrive, and `status` is asked. CPU and
wall seconds and the peak memory of each process.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from driver import driver_of
from lm_inputs import bodies
from made_run import NUMBER, PER_ROUND, trained, write_run
from rich.console import Console
from rich.table import Table

from evohpc import envelopes
from evohpc.driver.driver import Stopped
from evohpc.files import write_once
from evohpc.jobs.shared import SharedRunner
from evohpc.lm_job.scripted import ScriptedLMJob
from evohpc.messages import EvaluationJob, TaskReport, TaskState
from evohpc.run_folder import RunDir

READS = (
    ("status",),
    ("status", "--json"),
    ("list", "--best", "10"),
    ("list", "--best", "10", "--json"),
    ("list", "--round", "3"),
    ("show", "seed-cnn"),
    ("why", "best"),
    ("export", "--jsonl", "-"),
)


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    cpu: float
    wall: float
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100_000, help="candidates")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long results arrive")
    parser.add_argument("--rate", type=float, default=1000.0, help="results a minute")
    parser.add_argument("--folder", type=Path, help="keep the run there; one that is there is used again")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.drive:
        drive(arguments.drive, arguments.rate, arguments.seconds)
        return
    with tempfile.TemporaryDirectory(prefix="evohpc-benchmark-") as temporary:
        run = RunDir((arguments.folder or Path(temporary)) / "run")
        if not run.path.exists():
            write_run(run, arguments.size)
        table = Table(f"{arguments.size:,} candidates", "CPU s", "wall s", "peak MB")
        for name, cost in measured(run):
            table.add_row(name, f"{cost.cpu:.2f}", f"{cost.wall:.2f}", f"{cost.peak_mb:.0f}")
        Console().print(table)
        Console().print(under_load(run, arguments.rate, arguments.seconds))


def measured(run: RunDir) -> Iterator[tuple[str, Cost]]:
    """Yield what the commands cost, rebuilding first."""
    yield "rebuild", cost(*_evohpc("rebuild", run.path))
    for name, *options in READS:
        yield " ".join((name, *options)), cost(*_evohpc(name, run.path, *options))
    code = "import sys; from evohpc.report.runs import read; from pathlib import Path; read(Path(sys.argv[1]))"
    yield "report, the reading of it", cost(sys.executable, "-c", code, run.path)


def under_load(run: RunDir, rate: float, seconds: float) -> str:
    """Let a driver enter results while `status` is asked; return what both cost."""
    driver = subprocess.Popen(
        [sys.executable, __file__, "--drive", run.path, "--rate", str(rate), "--seconds", str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    asked = []
    while driver.poll() is None:
        asked.append(cost(*_evohpc("status", run.path)))
        time.sleep(1)
    assert driver.stdout is not None
    cpu, wall = (sorted(getattr(each, name) for each in asked) for name in ("cpu", "wall"))
    return (
        f"{driver.stdout.read().strip()}; meanwhile {len(asked)} times status: CPU s median {cpu[len(cpu) // 2]:.2f}, "
        f"worst {cpu[-1]:.2f}; wall s median {wall[len(wall) // 2]:.2f}, worst {wall[-1]:.2f}"
    )


def cost(*command: object) -> Cost:
    """Run a command to its end; return what it took."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", _LAUNCHER, *map(str, command)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    *said, last = done.stderr.splitlines()
    if done.returncode:
        raise SystemExit(f"{command}: {said}")
    return Cost(*json.loads(last))


_LAUNCHER = """
import os, sys, time
started = time.monotonic()
if not (child := os.fork()):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execv(sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(child, 0)
took = [used.ru_utime + used.ru_stime, time.monotonic() - started, used.ru_maxrss / 1024]
print(took, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process: the peak of a child is never less than what its parent had when it was forked."""


class PacedRunner:
    """Writes the results of what is handed out, so many a minute."""

    def __init__(self, run: RunDir, run_id: str, rate: float) -> None:
        self._run, self._run_id, self._pause = run, run_id, 60 / rate
        self._waiting: list[Path] = []
        self.written = 0
        threading.Thread(target=self._write, daemon=True).start()

    def submit(self, job: EvaluationJob) -> None:
        round = self._run.round(job.round)
        self._waiting += [round.result(a.candidate_id, a.attempt) for task in job.tasks for a in task]

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        return {name: [TaskReport(TaskState.RUNNING)] * size for name, size in sizes.items()}

    def cancel(self, names: Collection[str]) -> None: ...

    def close(self) -> None: ...

    def _write(self) -> None:
        due = time.monotonic()
        while True:
            due = max(due + self._pause, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))
            if self._waiting:
                path = self._waiting.pop(0)
                id = path.name.partition(".")[0]
                write_once(path, envelopes.seal(self._run_id, 1, trained(id, 1, 5000, 0.3)))
                self.written += 1


def drive(run: Path, rate: float, seconds: float) -> None:
    """Go on with a search for a while; print what was entered and what it took."""
    import resource

    rng, shown = random.Random(1), bodies()
    texts = [NUMBER.sub(lambda found: str(rng.randint(1, 999)), rng.choice(shown)) for _ in range(20 * PER_ROUND)]
    with driver_of(run) as driver:
        runner = PacedRunner(driver.intake.run, driver.intake.run_id, rate)
        driver.lm, driver.at_work.runner = ScriptedLMJob(texts), SharedRunner(runner)
        started, cpu = time.monotonic(), time.process_time()

        def wait(delay: float) -> bool:
            time.sleep(delay)
            return time.monotonic() - started > seconds

        driver.wait = wait
        before = driver.intake.store.count("results")
        with suppress(Stopped):
            driver.drive()
        entered = driver.intake.store.count("results") - before
    took = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{entered / took * 60:.0f} results a minute entered, of {runner.written / took * 60:.0f} written; driver: "
        f"{(time.process_time() - cpu) / took:.0%} of a core, peak {peak:.0f} MB"
    )


def _evohpc(*words: object) -> list[object]:
    return [sys.executable, "-m", "evohpc", *words]


if __name__ == "__main__":
    main()
