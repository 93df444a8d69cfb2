"""What `evaluation.candidates_at_once` brings: `python benchmarks/at_once.py [--at-once 1 2 4 8] [--wait 10]`.

By turns, an array task of eight candidates as Slurm starts it, each in a container, so many at the same time. Each
trains for 1,000 steps and waits `--wait` seconds without a core, as one on a GPU does. Wall seconds of the task, and
their ratio to those of one after the other, where the next container starts ahead.
"""

# ruff: noqa: E402 - the tests' Apptainer is imported, which is no package
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

import arrays
from rich.console import Console
from rich.table import Table
from support.evaluating import CONFIG, RUN_ID, make_run

from containers import PROGRAM
from evohpc import envelopes
from evohpc.config.search import load_resolved
from evohpc.config.site import ContainerSection, Site
from evohpc.files import write_atomic
from evohpc.jobs import array_task, side_by_side
from evohpc.linux import python
from evohpc.messages import Attempt, EvaluationJob, Result, Status

_COUNT = 8


def timed(path: Path, site: ContainerSection, at_once: int, wait: float) -> float:
    """Return the wall seconds of a task, so many candidates at the same time."""
    asked = f"evaluation: {{runtime: apptainer, candidates_per_task: {_COUNT}, candidates_at_once: {at_once}, "
    steps = CONFIG.replace("steps: 20, eval_every: 10", "steps: 1000, eval_every: 100")
    run = make_run(path, steps.replace("evaluation: {", asked))
    write_atomic(run.site, Site(container=site).dump())
    attempts = tuple(Attempt(f"c{number}", 1) for number in range(_COUNT))
    for attempt in attempts:
        write_atomic(run.round(0).candidate(attempt.candidate_id), PROGRAM.replace("WAIT", str(wait)))
    job = EvaluationJob("bench", 0, (attempts,))
    write_atomic(run.round(0).job(job.name), envelopes.seal(RUN_ID, 1, job))
    work = side_by_side.work_of(load_resolved(run.config).evaluation)
    command = [*python(), *array_task.command(work, run.path, 0, job.name, 0)]
    slurm = {"SLURM_ARRAY_JOB_ID": "0", "SLURM_ARRAY_TASK_ID": "0"}
    started = time.monotonic()
    subprocess.run(command, env={**os.environ, **slurm}, stdout=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - started
    for attempt in attempts:
        data = run.round(0).result(attempt.candidate_id, 1).read_bytes()
        result = envelopes.unseal(data, RUN_ID, Result)
        assert result.status is Status.TRAINED, result.detail
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8], help="candidates at the same time")
    parser.add_argument("--wait", type=float, default=10.0, help="seconds that each training waits")
    arguments = parser.parse_args()
    table = Table("at once", "wall s", "ratio")
    first = 0.0
    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        site = arrays.containers(Path(folder))
        for at_once in arguments.at_once:
            seconds = timed(Path(folder) / f"run-{at_once}", site, at_once, arguments.wait)
            first = first or seconds
            table.add_row(str(at_once), f"{seconds:.1f}", f"{seconds / first:.2f}")
    Console().print(table)
    print(f"load {os.getloadavg()[1]:.1f}")


if __name__ == "__main__":
    main()
