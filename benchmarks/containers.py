"""What containers cost beside training: `python benchmarks/containers.py [--candidates 1 8] [--steps 1000]`.

An array task as Slurm starts it, a new Python with the runtime `apptainer`, evaluates one candidate or several. In one
run, by turns: a container for each candidate, in which torch is imported once, and, as before that and on kernels
without Landlock still, one for each stage. Wall seconds of the task beside training, CPU seconds of all its processes;
then where the time of a task went. CPU seconds are looked up ten times a second, as a process that is killed with its
parent is counted by nobody: what it used after the last look is missing.
"""

# ruff: noqa: E402 - the tests' Apptainer is imported, which is no package
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

import arrays
from rich.console import Console
from rich.table import Table
from support.evaluating import CONFIG, HONEST, RUN_ID, make_run
from support.old_kernel import without_landlock

from evohpc import envelopes
from evohpc.config.site import ContainerSection, Site
from evohpc.files import write_atomic
from evohpc.linux import python
from evohpc.messages import Attempt, EvaluationJob, Result, Status
from evohpc.run_folder import RunDir

_TASK = "import sys; from evohpc.evaluation import worker; worker.run_array_task(sys.argv[1], 0, sys.argv[2], 0)"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one array task."""

    wall_s: float
    cpu_s: float
    results: tuple[Result, ...]

    def spent(self, name: str) -> float:
        """Return the wall seconds of all its candidates that their results have under a name."""
        return sum(result.seconds.get(name, 0.0) for result in self.results)

    @property
    def beside_s(self) -> float:
        """Wall seconds beside the training, for each candidate."""
        return (self.wall_s - self.spent("train")) / len(self.results)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 8], help="of a task")
    parser.add_argument("--steps", type=int, default=1000, help="of training; its CPU seconds are in those of the task")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        warm = arrays.containers(folder)
        (folder / "old").mkdir()
        apart = warm.model_copy(update={"apptainer": str(without_landlock(folder / "old", warm.apptainer))})
        ways = {"for each candidate": warm, "for each stage": apart}
        runs = {
            way: _run(folder / f"run-{number}", site, arguments.steps)
            for number, (way, site) in enumerate(ways.items())
        }
        found = {(way, count): _timed(runs[way], count) for count in arguments.candidates for way in ways}
    Console().print(_costs(found, arguments.candidates, list(ways)))
    for (way, count), cost in found.items():
        Console().print(f"a container {way}, {count} in a task: {_shares(cost)}")
    print(f"load {os.getloadavg()[1]:.1f}")


def _run(path: Path, site: ContainerSection, steps: int) -> RunDir:
    config = CONFIG.replace("evaluation: {", "evaluation: {runtime: apptainer, ").replace(
        "steps: 20", f"steps: {steps}"
    )
    run = make_run(path, config.replace("eval_every: 10", f"eval_every: {max(1, steps // 10)}"))
    write_atomic(run.site, Site(container=site).dump())
    return run


def _timed(run: RunDir, count: int) -> Cost:
    """Run an array task of so many candidates in a process of its own."""
    folder, attempts = run.round(0), tuple(Attempt(f"c{count}-{index}", 1) for index in range(count))
    for attempt in attempts:
        write_atomic(folder.candidate(attempt.candidate_id), HONEST)
    job = EvaluationJob(f"bench-000-{count:02d}", 0, (attempts,))
    write_atomic(folder.job(job.name), envelopes.seal(RUN_ID, 1, job))
    used: dict[tuple[int, str], float] = {}
    started = time.monotonic()
    with subprocess.Popen([*python(), "-c", _TASK, str(run.path), job.name]) as task:
        while task.poll() is None:
            used |= _used(task.pid)
            time.sleep(0.1)
    wall = time.monotonic() - started
    results = [envelopes.unseal(folder.result(a.candidate_id, 1).read_bytes(), RUN_ID, Result) for a in attempts]
    for result in results:
        assert result.status is Status.TRAINED, result.detail
    return Cost(wall, sum(used.values()), tuple(results))


def _used(root: int) -> dict[tuple[int, str], float]:
    """Return the CPU seconds so far of a process and of each below it, by pid and start."""
    seen: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            seen[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
    below = fresh = {root}
    while fresh:
        fresh = {pid for pid, fields in seen.items() if int(fields[1]) in below} - below
        below |= fresh
    tick = os.sysconf("SC_CLK_TCK")
    return {(pid, f[19]): (int(f[11]) + int(f[12])) / tick for pid, f in seen.items() if pid in below}


def _costs(found: dict[tuple[str, int], Cost], counts: list[int], ways: list[str]) -> Table:
    table = Table("candidates in a task", *(f"container {way}, wall s (CPU s)" for way in ways), "ratio, wall (CPU)")
    for count in counts:
        warm, apart = (found[way, count] for way in ways)
        each = [f"{cost.beside_s:.2f} ({cost.cpu_s / count:.2f})" for cost in (warm, apart)]
        ratio = f"{warm.beside_s / apart.beside_s:.2f} ({warm.cpu_s / apart.cpu_s:.2f})"
        table.add_row(str(count), *each, ratio)
    return table


def _shares(cost: Cost) -> str:
    """Say where the wall time of a task went."""
    known = {name: cost.spent(name) for name in ("check", "train", "predict")}
    parts = {
        "start of Python, the evaluator and the probe": cost.wall_s - cost.spent("total"),
        "build and first batch": known["check"],
        "training": known["train"],
        "prediction": known["predict"],
        "containers, forks, files and scoring": cost.spent("total") - sum(known.values()),
    }
    said = ", ".join(f"{name} {value:.1f} s ({value / cost.wall_s:.0%})" for name, value in parts.items())
    return f"{cost.wall_s:.1f} s: {said}"


if __name__ == "__main__":
    main()
