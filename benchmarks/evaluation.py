"""What an evaluation costs beside its training loop: `python benchmarks/evaluation.py [--repeats N]`.

Cold and forked runs alternate, so that a loaded machine slows both. Wall seconds, medians; CPU seconds, which load
hardly changes, where there is nothing to train.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from evohpc import envelopes
from evohpc.config.search import load_config
from evohpc.evaluation import worker
from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.benchmark import WORKER
from evohpc.files import write_atomic
from evohpc.jobs.local import LocalRunner
from evohpc.messages import Attempt, EvaluationJob, Result, TaskState
from evohpc.run_folder import RunDir
from evohpc.sandbox import process_tree
from evohpc.sandbox.base import Outcome, Stage
from evohpc.sandbox.process_runtime import ProcessRuntime
from evohpc.tasks.data import prepare

SEED = Path(__file__).parent.parent / "seeds" / "mnist1d" / "cnn.py"
TRAININGS = {"no training": 1, "1000 steps": 1000}


class ColdRuntime:
    """Starts a helper of its own for each stage, as a system without a fork server would."""

    def __init__(self, warm: ProcessRuntime) -> None:
        self.isolation = warm.isolation

    def run(self, stage: Stage) -> Outcome:
        """Run one stage, imports included."""
        runtime = ProcessRuntime(WORKER, self.isolation)
        try:
            return runtime.run(stage)
        finally:
            runtime.close()

    def expect_another(self) -> None:
        """Nothing is kept."""

    def end_candidate(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is kept."""


@contextmanager
def prepared(steps: int) -> Iterator[RunDir]:
    """Yield a run of that many steps, 10 checkpoints at most."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "given.yaml")
        options = f"{{steps: {steps}, eval_every: {max(1, steps // 10)}}}"
        given.write_text(f"task: mnist1d\ntask_options: {options}\nseeds: {SEED.parent}\nlm: {{engine: scripted}}\n")
        run = RunDir(Path(folder, "run"))
        write_atomic(run.config, load_config(given).dump())
        write_atomic(run.provenance, '{"run_id": "bench"}')
        prepare(run)
        yield run


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one evaluation beside its training loop."""

    result: Result
    wall_s: float
    cpu_s: float
    """Training included."""


def timed(evaluator: Evaluator) -> Cost:
    """Evaluate the seed once."""
    started, cpu = time.perf_counter(), cpu_seconds()
    result = evaluator.evaluate(Attempt("cnn", 1), SEED.read_bytes())
    assert result.fitness is not None, result.detail
    wall = time.perf_counter() - started
    return Cost(result, wall - result.seconds["train"], cpu_seconds() - cpu)


def cpu_seconds() -> float:
    """Return what this process and all its descendants, dead or alive, have used."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    fields = [stat_fields(pid) for pid in process_tree.descendants(os.getpid())]
    living = sum(int(ticks) for line in fields for ticks in line[11:15]) / os.sysconf("SC_CLK_TCK")
    return time.process_time() + ended.ru_utime + ended.ru_stime + living


def stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the command: utime, stime, cutime, cstime are 11 to 14."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def one_at_a_time(repeats: int) -> None:
    """Print the overhead of one evaluation, cold and forked."""
    for name, steps in TRAININGS.items():
        with prepared(steps) as run, worker.evaluator(run) as warm:
            assert isinstance(warm, Evaluator)
            assert isinstance(warm.runtime, ProcessRuntime)
            timed(warm)  # the first one loads the labels
            cold = replace(warm, runtime=ColdRuntime(warm.runtime))
            pairs = [(timed(cold), timed(warm)) for _ in range(repeats)]
        slow, fast = (statistics.median(cost.wall_s for cost in costs) for costs in zip(*pairs, strict=True))
        print(f"{name}: beside the training loop {slow:.2f} s cold, {fast:.3f} s forked: {slow / fast:.0f} times less")
        if steps == 1:
            slow, fast = (statistics.mean(cost.cpu_s for cost in costs) for costs in zip(*pairs, strict=True))
            print(f"  CPU {slow:.2f} s cold, {fast:.3f} s forked: {slow / fast:.0f} times less")
        results = [forked.result for _, forked in pairs]
        parts = {part: statistics.median(r.seconds[part] for r in results) for part in results[0].seconds}
        print("  forked, by part: " + ", ".join(f"{part} {seconds:.3f}" for part, seconds in parts.items()))


def many(count: int) -> None:
    """Print how many evaluations a second a local runner does, and how long its first takes."""
    for name, steps in TRAININGS.items():
        with prepared(steps) as run:
            ids = [f"c{index:03d}" for index in range(count)]
            for id in ids:
                write_atomic(run.round(0).candidate(id), SEED.read_bytes())
            job = EvaluationJob("bench-000-00", 0, tuple((Attempt(id, 1),) for id in ids))
            write_atomic(run.round(0).job(job.name), envelopes.seal("bench", 1, job))
            runner, started, first = LocalRunner(run.path, 0), time.perf_counter(), 0.0
            runner.submit(job)
            while ended(runner, job) < count:
                first = first or (time.perf_counter() - started if ended(runner, job) else 0.0)
                time.sleep(0.01)
            seconds = time.perf_counter() - started
            runner.close()
            rate = (count - 1) / (seconds - first)
            workers = len(os.sched_getaffinity(0))
            print(f"{name}: {count} candidates, {workers} workers: first after {first:.1f} s, then {rate:.1f}/s")


def ended(runner: LocalRunner, job: EvaluationJob) -> int:
    """Return how many tasks are over."""
    return sum(report.state is TaskState.ENDED for report in runner.poll({job.name: len(job.tasks)})[job.name])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--count", type=int, default=60)
    arguments = parser.parse_args()
    one_at_a_time(arguments.repeats)
    many(arguments.count)
