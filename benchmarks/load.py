"""What evohpc costs on a search of 100,000 candidates: `python benchmarks/load.py`.

Writes the files of such a search (made up, the same at each call), has `evohpc rebuild` make its database, and runs the
commands that read it. Then a driver goes on with it while 1,000 results a minute arrive, and `status` is asked. CPU and
wall seconds and the peak memory of each process.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from driver import driver_of
from lm_inputs import bodies
from rich.console import Console
from rich.table import Table

from evohpc import envelopes
from evohpc.config.search import load_config
from evohpc.driver.driver import Stopped
from evohpc.evolution.prompts import Example, candidate_source
from evohpc.evolution.request import request
from evohpc.evolution.screening import candidate_id
from evohpc.files import write_once
from evohpc.lm_job.scripted import ScriptedLMJob
from evohpc.messages import (
    Completion,
    EvaluationJob,
    Isolation,
    LMRequest,
    Result,
    Status,
    TaskInterface,
    TaskReport,
    TaskState,
)
from evohpc.run_folder import RunDir
from evohpc.search.search import Search
from evohpc.tasks.data import interface

ROOT = Path(__file__).parent.parent
PER_ROUND = 160
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
_NO_PROGRAM = "    def forward(self, x:\n"
_NUMBER = re.compile(r"\b\d+\b")


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


def write_run(run: RunDir, size: int) -> None:
    """Write the files of a search whose rounds are closed, with `size` children, and no database."""
    rounds = -(-size // PER_ROUND)
    config = run.path.with_name("config.yaml")
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        f"task: mnist1d\nseeds: {ROOT / 'seeds' / 'mnist1d'}\nlm: {{engine: scripted}}\n"
        f"search: {{rounds: {rounds + 100}}}\nevaluation: {{retries: 2}}\n"
    )
    with Search.create(run.path, load_config(config)) as search:
        for candidate in search.ask():
            search.tell(_trained(candidate.id, 1, candidate.source, 5000, 0.3))
        seeds = [Example(e.id, e.candidate.source, 5000, 0.7) for e in search.best()]
        search.ask()
        made = Maker(run, search, seeds)
    for round in range(rounds):
        made.write_round(round)
    for path in (run.database, run.snapshot):
        path.unlink()


class Maker:
    """Makes up rounds. One in six completions is a program seen before, one in fifteen is no program, and one in ten
    programs fails."""

    def __init__(self, run: RunDir, search: Search, parents: Sequence[Example]) -> None:
        self._run, self._run_id, self._config = run, search.run_id, search.config
        self._task: TaskInterface = interface(run)
        self._parents = parents
        self._rng = random.Random(0)
        self._bodies = bodies()
        self._seen: dict[str, None] = {}
        """Programs, the latest last."""

    def write_round(self, round: int) -> None:
        """Write a closed round: its request, completions, archive and survivors."""
        folder = self._run.round(round)
        asked = request(
            self._config,
            self._task,
            run_id=self._run_id,
            round=round,
            parents=self._parents,
            tuning_examples=(),
            adapter=None,
            deepspeed_config={},
        )
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.request.write_text(envelopes.encode(asked))
        texts = [(completion, self._is_new(completion.text)) for completion in self._completions(asked)]
        folder.completions.write_text("".join(envelopes.encode(completion) + "\n" for completion, _ in texts))
        trained = self._write_archive(round, [completion for completion, is_new in texts if is_new])
        best = sorted(trained, key=lambda result: (-(result.fitness or 0.0), result.candidate_id))
        folder.survivors.write_text(json.dumps([result.candidate_id for result in best[:10]]))

    def _completions(self, asked: LMRequest) -> Iterator[Completion]:
        for prompt in asked.prompts:
            for sample in prompt.samples:
                yield Completion(prompt.index, sample.index, text := self._text(), len(text) // 4, "eos")

    def _text(self) -> str:
        kind = self._rng.random()
        if kind < 1 / 15:
            return _NO_PROGRAM
        if kind < 1 / 15 + 1 / 6 and self._seen:
            return self._rng.choice(list(self._seen))
        return _NUMBER.sub(lambda found: str(self._rng.randint(1, 999)), self._rng.choice(self._bodies))

    def _is_new(self, text: str) -> bool:
        is_new = text not in self._seen and text != _NO_PROGRAM
        if is_new:
            self._seen[text] = None
        if len(self._seen) > 1000:
            del self._seen[next(iter(self._seen))]
        return is_new

    def _write_archive(self, round: int, completions: Sequence[Completion]) -> list[Result]:
        trained = []
        with zipfile.ZipFile(self._run.round(round).archive, "w", zipfile.ZIP_DEFLATED) as archive:
            for completion in completions:
                id = candidate_id(round, completion.prompt, completion.sample)
                source = candidate_source(completion.text, self._task)
                archive.writestr(f"candidates/{id}.py", source)
                for result in self._results(id, source):
                    name = f"results/{id}.{result.attempt}.json"
                    archive.writestr(name, envelopes.seal(self._run_id, 1, result))
                    trained += [result] if result.status is Status.TRAINED else []
        return trained

    def _results(self, id: str, source: str) -> Iterator[Result]:
        attempt = 1
        if self._rng.random() < 0.02:
            yield Result(id, attempt, Status.NODE_FAIL, "the node went away")
            attempt = 2
        if self._rng.random() < 0.1:
            yield Result(id, attempt, Status.SHAPE_ERROR, "expected (100, 10), got (100, 7)", seconds={"total": 3.0})
        else:
            yield _trained(id, attempt, source, self._rng.randint(100, 20_000), self._rng.uniform(0.05, 0.9))


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
                source = path.parent.with_name("candidates").joinpath(f"{id}.py").read_text()
                write_once(path, envelopes.seal(self._run_id, 1, _trained(id, 1, source, 5000, 0.3)))
                self.written += 1


def drive(run: Path, rate: float, seconds: float) -> None:
    """Go on with a search for a while; print what was entered and what it took."""
    import resource

    rng, shown = random.Random(1), bodies()
    texts = [_NUMBER.sub(lambda found: str(rng.randint(1, 999)), rng.choice(shown)) for _ in range(20 * PER_ROUND)]
    with driver_of(run) as driver:
        runner = PacedRunner(driver.intake.run, driver.intake.run_id, rate)
        driver.lm, driver.runner = ScriptedLMJob(texts), runner
        started, cpu = time.monotonic(), time.process_time()
        driver.wait = lambda delay: bool(time.sleep(delay)) or time.monotonic() - started > seconds
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


def _trained(id: str, attempt: int, source: str, size: int, error: float) -> Result:
    finished = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=size)
    return Result(
        candidate_id=id,
        attempt=attempt,
        status=Status.TRAINED,
        num_params=size,
        error=error,
        fitness=-size * error,
        metrics={"val_accuracy": 1 - error, "test_accuracy": 0.98 - error, "published_val_accuracy": 0.99 - error},
        seconds={"check": 0.5, "train": 40.0, "predict": 1.5, "score": 0.1, "total": 42.1},
        isolation=Isolation.CONTAINER,
        host=f"node{size % 64:02d}",
        versions={"torch": "2.13.0", "python": "3.11.7", "evohpc": "0.2.0"},
        finished_at=finished.isoformat(timespec="seconds"),
    )


if __name__ == "__main__":
    main()
