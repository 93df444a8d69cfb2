"""What containers cost beside training: `python benchmarks/containers.py [--candidates 1 8] [--steps 1000] [--slurm]`.

An array task as Slurm starts it, a new Python with the runtime `apptainer`, evaluates one candidate or several. In one
run, by turns: a container for each candidate, in which torch is imported once; the same, started while the candidate
before runs; and, as it was and is on kernels without Landlock, one for each stage. Wall seconds of the task beside
training, CPU seconds of all its processes; then where the time of a task went. CPU seconds are looked up ten times a
second, as a process that is killed with its parent is counted by nobody: what it used after the last look is missing.

--slurm: in a job of a real Slurm, brought up for it. --wait: seconds that each training also waits, without a core, as
one on a GPU does.
"""

# ruff: noqa: E402 - the tests' Apptainer is imported, which is no package
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

import arrays
from rich.console import Console
from rich.table import Table
from support.cluster.slurm import Cluster
from support.evaluating import CONFIG, PRELUDE, RUN_ID, make_run
from support.old_kernel import without_landlock

from evohpc import envelopes
from evohpc.config.site import ContainerSection, Site
from evohpc.files import write_atomic
from evohpc.linux import python
from evohpc.messages import Attempt, EvaluationJob, Result, Status
from evohpc.run_folder import RunDir

_TASK = ROOT / "benchmarks" / "array_task.py"
_NAMES = ("for each stage", "for each candidate", "ahead")
_SRUN = ("srun", "--quiet", "--cpus-per-task=2", "--mem=4G")
PROGRAM = f"""{PRELUDE}
import time
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)
        self.steps = 0
    def forward(self, x):
        self.steps += self.training
        if self.steps == 2:
            time.sleep(WAIT)
        return self.out(x)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one array task."""

    wall_s: float
    cpu_s: float
    results: tuple[Result, ...]
    parts: dict[str, float]
    """Wall seconds, see array_task.py."""

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
    parser.add_argument("--wait", type=float, default=0.0, help="seconds that each training waits")
    parser.add_argument("--slurm", action="store_true", help="in jobs of Slurm")
    parser.add_argument("--ways", nargs="+", choices=_NAMES, default=[*_NAMES], help="of starting containers")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as name,
        _start(arguments.slurm) as how,
    ):
        ways = {way: site for way, site in _ways(Path(name)).items() if way in arguments.ways}
        runs = {
            way: _run(Path(name) / f"run-{number}", site, arguments.steps)
            for number, (way, site) in enumerate(ways.items())
        }
        found: dict[tuple[str, int], Cost] = {}
        for count in arguments.candidates:
            for way in reversed(ways):
                found[way, count] = cost = _timed(runs[way], count, arguments.wait, how)
                print(f"container {way}, {count} in a task: {cost.wall_s:.1f} s, {cost.cpu_s:.1f} CPU s", flush=True)
    Console(width=160).print(_costs(found, arguments.candidates, list(ways)))
    for count in arguments.candidates:
        Console(width=160).print(_shares({way: found[way, count] for way in ways}, count))
    print(f"load {os.getloadavg()[1]:.1f}")


@contextmanager
def _start(slurm: bool) -> Iterator[tuple[str, ...]]:
    """Yield the first words of a command that starts an array task."""
    if not slurm:
        yield ()
        return
    with Cluster(nodes=1) as cluster:
        os.environ["SLURM_CONF"] = cluster.environment()["SLURM_CONF"]
        subprocess.run(["srun", "true"], check=True)  # the first job after a start waits for the scheduler
        yield _SRUN


def _ways(folder: Path) -> dict[str, ContainerSection]:
    site = arrays.containers(folder)
    (folder / "old").mkdir()
    old = str(without_landlock(folder / "old", site.apptainer))
    changes: list[dict[str, object]] = [{"apptainer": old}, {"prewarm": False}, {"prewarm": True}]
    return {way: site.model_copy(update=change) for way, change in zip(_NAMES, changes, strict=True)}


def _run(path: Path, site: ContainerSection, steps: int) -> RunDir:
    config = CONFIG.replace("evaluation: {", "evaluation: {runtime: apptainer, ").replace(
        "steps: 20", f"steps: {steps}"
    )
    run = make_run(path, config.replace("eval_every: 10", f"eval_every: {max(1, steps // 10)}"))
    write_atomic(run.site, Site(container=site).dump())
    return run


def _timed(run: RunDir, count: int, wait: float, how: tuple[str, ...]) -> Cost:
    """Run an array task of so many candidates in a process of its own."""
    folder, attempts = run.round(0), tuple(Attempt(f"c{count}-{index}", 1) for index in range(count))
    for attempt in attempts:
        write_atomic(folder.candidate(attempt.candidate_id), PROGRAM.replace("WAIT", str(wait)))
    job = EvaluationJob(f"bench-000-{count:02d}", 0, (attempts,))
    write_atomic(folder.job(job.name), envelopes.seal(RUN_ID, 1, job))
    used: dict[tuple[int, str], float] = {}
    words = [*python(), str(_TASK), str(run.path), job.name]
    started = time.monotonic()
    with subprocess.Popen([*how, *words], stdout=subprocess.PIPE, text=True) as task:
        while task.poll() is None:
            used |= _used(words)
            time.sleep(0.1)
        assert task.stdout is not None
        parts = json.loads(task.stdout.read().splitlines()[-1])
    wall = time.monotonic() - started
    results = [envelopes.unseal(folder.result(a.candidate_id, 1).read_bytes(), RUN_ID, Result) for a in attempts]
    for result in results:
        assert result.status is Status.TRAINED, result.detail
    return Cost(wall, sum(used.values()), tuple(results), parts)


def _used(words: list[str]) -> dict[tuple[int, str], float]:
    """Return the CPU seconds so far of the process with this command line and of each below it, by pid and start."""
    seen: dict[int, list[str]] = {}
    fresh: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            seen[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
            if path.with_name("cmdline").read_text().split("\0")[:-1] == words:
                fresh.add(int(path.parent.name))
    below = set(fresh)
    while fresh:
        fresh = {pid for pid, fields in seen.items() if int(fields[1]) in below} - below
        below |= fresh
    tick = os.sysconf("SC_CLK_TCK")
    return {(pid, f[19]): (int(f[11]) + int(f[12])) / tick for pid, f in seen.items() if pid in below}


def _costs(found: dict[tuple[str, int], Cost], counts: list[int], ways: list[str]) -> Table:
    table = Table("candidates in a task", "container", "wall s beside training", "CPU s", "ratio, wall", "ratio, CPU")
    for count in counts:
        first = found[ways[0], count]
        for way in ways:
            cost = found[way, count]
            ratios = cost.beside_s / first.beside_s, cost.cpu_s / first.cpu_s
            table.add_row(str(count), way, *(f"{x:.2f}" for x in (cost.beside_s, cost.cpu_s / count, *ratios)))
    return table


def _shares(costs: dict[str, Cost], count: int) -> Table:
    """Say where the wall time of a task went, but for training."""
    table = Table(f"{count} in a task: wall s (share)", *costs)
    names = dict.fromkeys(name for cost in costs.values() for name in cost.parts)
    rows = {way: _parts(cost) for way, cost in costs.items()}
    for name in (*names, "Slurm, and the end of Python"):
        cells = [f"{row.get(name, 0):.1f} ({row.get(name, 0) / sum(row.values()):.0%})" for row in rows.values()]
        table.add_row(name, *cells)
    return table


def _parts(cost: Cost) -> dict[str, float]:
    """Return the parts of the time of a task beside training."""
    parts = {**cost.parts, "stages": cost.parts["stages"] - cost.spent("train")}
    return {**parts, "Slurm, and the end of Python": cost.wall_s - sum(cost.parts.values())}


if __name__ == "__main__":
    main()
