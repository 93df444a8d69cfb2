"""What the way through Slurm and Apptainer costs: `python benchmarks/arrays.py [TASKS]`. Brings up a Slurm of its own.

1. Candidates per second through SlurmRunner, one and eight in an array task, beside bare submitit and a bare sbatch
   array; each task starts Python and imports the evaluator, none trains.
2. Seconds until a stage runs in a fresh container.
3. Seconds of an array task that are not spent in candidates, and what share that leaves them.
"""

# ruff: noqa: E402 - the tests' cluster is imported, which is no package
from __future__ import annotations

import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

import submitit
from empty_task import nothing
from support.cluster import apptainer
from support.cluster.daemons import wait_until
from support.cluster.slurm import Cluster
from support.evaluating import CONFIG, HONEST, RUN_ID, make_run

from evohpc import envelopes
from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.site import ContainerSection, EvaluationJobs, SchedulerSection, Site
from evohpc.evaluation import worker
from evohpc.evaluation.benchmark import WORKER
from evohpc.files import write_atomic
from evohpc.jobs.slurm import SlurmRunner
from evohpc.messages import Attempt, EvaluationJob, Isolation, Result, TaskState
from evohpc.run_folder import RunDir
from evohpc.sandbox import apptainer_runtime as runtime

PACKED = 8


def through_runner(folder: Path, candidates: int, packed: int = 1) -> None:
    """SlurmRunner, asking every half second."""
    scheduler = SchedulerSection(poll_s=0.5, poll_max_s=0.5, submit_every_s=0)
    site = Site(scheduler=scheduler, evaluation=EvaluationJobs(extra_memory_mb=50))
    attempts = tuple(Attempt(f"c{index}", 1) for index in range(candidates))
    job = EvaluationJob(
        "bench-000-00", 0, tuple(attempts[first : first + packed] for first in range(0, candidates, packed))
    )
    write_atomic(RunDir(folder).round(0).job(job.name), envelopes.seal(RUN_ID, 1, job))
    runner = SlurmRunner(folder, site, EvaluationConfig(memory_mb=50), work=nothing)
    runner.submit(job)
    sizes = {job.name: len(job.tasks)}
    wait_until(lambda: {r.state for r in runner.poll(sizes)[job.name]} == {TaskState.ENDED}, "all ended", 600)


def through_submitit(folder: Path, tasks: int) -> None:
    """submitit's own map_array, without a step per task; its results are read from its pickles."""
    executor = submitit.SlurmExecutor(folder)
    executor.update_parameters(time=5, mem="100M", use_srun=False, array_parallelism=64, wckey=None)
    jobs = executor.map_array(nothing, *zip(*[("", 0, "", index) for index in range(tasks)], strict=True))
    wait_until(lambda: all(job.paths.result_pickle.exists() for job in jobs), "all have a pickle", 600)


def through_sbatch(folder: Path, tasks: int) -> None:
    """A bare array."""
    work = f"{sys.executable} -c 'import evohpc.evaluation.worker'"
    options = ["--output=/dev/null", "--mem=100M", f"--array=0-{tasks - 1}%64", f"--wrap={work}"]
    subprocess.run(["sbatch", *options], check=True, capture_output=True)
    show = ["squeue", "--noheader"]
    wait_until(lambda: not subprocess.run(show, check=True, capture_output=True).stdout, "all ended", 600, 0.5)


def throughput(candidates: int) -> None:
    """Print the first table."""
    print(f"{'way':<20}{'candidates/s':>14}{'against sbatch':>16}")
    ways: dict[str, Callable[[Path, int], None]] = {
        "sbatch": through_sbatch,
        "submitit": through_submitit,
        "SlurmRunner": through_runner,
        f"SlurmRunner, {PACKED} a task": partial(through_runner, packed=PACKED),
    }
    rates = dict.fromkeys(ways, 0.0)
    for name, way in [*ways.items()] * 2:  # the better of two, taken in turns: the machine is shared
        with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as folder:
            started = time.monotonic()
            way(Path(folder), candidates)
            rates[name] = max(rates[name], candidates / (time.monotonic() - started))
    for name, rate in rates.items():
        print(f"{name:<20}{rate:>14.2f}{rate / rates['sbatch']:>16.2f}")


def containers(folder: Path) -> ContainerSection:
    """A base of this machine's Python, with this environment's packages bound in."""
    image = folder / "base"
    subprocess.run([sys.executable, ROOT / "containers" / "host_base.py", image], check=True)
    inside = f"/usr/local/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    return ContainerSection(
        apptainer=str(apptainer.install()), image=image, binds=(f"{sysconfig.get_path('purelib')}:{inside}",)
    )


def start_latency(site: ContainerSection, secret: Path) -> None:
    """Print how long a fresh container takes until it has torch imported and its probe has run, and to its end."""
    seconds = []
    for _ in range(11):
        started = time.monotonic()
        runtime.start(site, secret, Isolation.CONTAINER, WORKER).close()
        seconds.append(time.monotonic() - started)
    print(
        f"container, start to end of the probe: median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s"
    )


def overhead(run: RunDir, count: int = 4) -> None:
    """Print what one array task of several candidates spends outside them."""
    folder = run.round(0)
    attempts = tuple(Attempt(f"c{index}", 1) for index in range(count))
    for attempt in attempts:
        write_atomic(folder.candidate(attempt.candidate_id), HONEST)
    job = EvaluationJob("bench-000-01", 0, (attempts,))
    write_atomic(folder.job(job.name), envelopes.seal(RUN_ID, 1, job))
    started = time.monotonic()
    worker.run_array_task(str(run.path), 0, job.name, 0)
    wall = time.monotonic() - started
    results = [envelopes.unseal(folder.result(a.candidate_id, 1).read_bytes(), RUN_ID, Result) for a in attempts]
    inside = sum(result.seconds[step] for result in results for step in ("check", "train", "predict"))
    each = (wall - inside) / count
    shares = ", ".join(f"{t} s: {t / (t + each):.1%}" for t in (30, 300, 1800))
    print(f"outside candidates: {each:.2f} s for each; their share of a task if one trains for {shares}")


def main() -> None:
    """Print the tables."""
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    os.environ["PYTHONPATH"] = f"{ROOT / 'benchmarks'}:{ROOT / 'tests'}"
    with Cluster() as cluster:
        os.environ["SLURM_CONF"] = cluster.environment()["SLURM_CONF"]
        subprocess.run(["srun", "true"], check=True)  # the first job after a start waits for the scheduler
        throughput(tasks)
    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        site = containers(folder)
        run = make_run(folder / "run", CONFIG.replace("evaluation: {", "evaluation: {runtime: apptainer, "))
        write_atomic(run.site, Site(container=site).dump())
        start_latency(site, run.labels)
        overhead(run)


if __name__ == "__main__":
    main()
