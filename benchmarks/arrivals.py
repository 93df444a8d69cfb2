"""What a driver makes of results that arrive at a rate: `python benchmarks/arrivals.py RUN --rates 1000 2000 4000`.

Goes on with a search, for a while at each rate: the run folder of `load.py --folder FOLDER` is FOLDER/run. The driver,
its store and its files are the real ones. The language model answers at once, with programs that nothing wrote before,
so that each is evaluated; another process writes their results at the rate. `status` is asked every second.

Three numbers tell whether the driver keeps up: results asked for, written (fewer, where the driver has not handed out
enough) and entered.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from statistics import median

from costs import Cost, cost, evohpc
from driver import InstantLM, Meter, driver_of
from lm_inputs import bodies
from made_run import NUMBER, trained
from rich.console import Console
from rich.table import Table

from evohpc import envelopes
from evohpc.driver.driver import Stopped
from evohpc.files import write_once
from evohpc.jobs.shared import SharedRunner
from evohpc.messages import Completion, EvaluationJob, Prompt, Sample, Status, TaskReport, TaskState
from evohpc.run_folder import RunDir


@dataclass(frozen=True)
class Driven:
    """What a driver did in a while."""

    seconds: float
    written: int
    entered: int
    cpu: float
    """Seconds of the driver's process, without those of the stand-in for the language model."""
    peak_mb: float

    def a_minute(self, count: int) -> float:
        return 60 * count / self.seconds


class FreshLM(InstantLM):
    """Writes programs that nothing wrote before: the numbers in those of a made-up run are below 1,000."""

    def _complete(self, number: int, prompt: Prompt, sample: Sample) -> Completion:
        rng = random.Random(sample.seed)  # another one for each completion of a search
        text = NUMBER.sub(lambda found: str(rng.randint(1_000, 999_999)), rng.choice(bodies()))
        return Completion(prompt.index, sample.index, text, len(text) // 4, "eos")


class PacedRunner:
    """Has a process of its own write the results of what is handed out, so many a minute. What could not be written in
    time, as nothing waited for a result, is written as soon as something does."""

    def __init__(self, run: RunDir, run_id: str, rate: float) -> None:
        self._run = run
        context = multiprocessing.get_context("fork")
        self._paths: SimpleQueue[str] = context.SimpleQueue()
        self._written: Synchronized[int] = context.Value("i", 0)
        self._writer = context.Process(target=_write, args=(self._paths, self._written, run_id, rate), daemon=True)
        self._writer.start()

    @property
    def written(self) -> int:
        """How many results it has written."""
        return self._written.value

    def submit(self, job: EvaluationJob) -> None:
        round = self._run.round(job.round)
        for attempt in (attempt for task in job.tasks for attempt in task):
            self._paths.put(str(round.result(attempt.candidate_id, attempt.attempt)))

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        return {name: [TaskReport(TaskState.RUNNING)] * size for name, size in sizes.items()}

    def cancel(self, names: Collection[str]) -> None: ...

    def close(self) -> None:
        self._writer.terminate()
        self._writer.join()


def _write(paths: SimpleQueue[str], written: Synchronized[int], run_id: str, rate: float) -> None:
    rng, started = random.Random(1), time.monotonic()
    while True:
        path = Path(paths.get())
        time.sleep(max(0.0, started + 60 / rate * (written.value + 1) - time.monotonic()))
        result = trained(path.name.partition(".")[0], 1, rng.randint(100, 20_000), rng.uniform(0.05, 0.9))
        write_once(path, envelopes.seal(run_id, 1, result))
        written.value += 1


def drive(run: Path, rate: float, seconds: float) -> Driven:
    """Go on with a search for a while; return what was done.

    Raises:
        AssertionError: a child was no new program, so that no result of it could arrive.
    """
    meter = Meter()
    with driver_of(run) as driver:
        store = driver.intake.store
        before, kinds = store.count("results"), store.counts()
        runner = PacedRunner(driver.intake.run, driver.intake.run_id, rate)
        driver.lm, driver.at_work.runner = FreshLM(meter), SharedRunner(runner)
        started, cpu = time.monotonic(), time.process_time()

        def wait(delay: float) -> bool:
            time.sleep(delay)
            return time.monotonic() - started > seconds

        driver.wait = wait
        with suppress(Stopped):
            driver.drive()
        took, written, used = time.monotonic() - started, runner.written, time.process_time() - cpu
        runner.close()
        entered = store.count("results") - before
        more = {status for status, count in store.counts().items() if count != kinds.get(status, 0)}
        assert more <= {Status.TRAINED, Status.PENDING}, f"some of the new children are {more}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Driven(took, written, entered, used - meter.outside, peak)


def under_load(run: Path, rate: float, seconds: float) -> tuple[Driven, list[Cost]]:
    """Let a driver enter results while `status` is asked; return what both did."""
    command = [sys.executable, __file__, str(run), "--rates", str(rate), "--seconds", str(seconds), "--alone"]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    asked = []
    while driver.poll() is None:
        asked.append(cost(*evohpc("status", run)))
        time.sleep(1)
    assert driver.stdout is not None
    if driver.returncode:
        raise SystemExit("the driver failed")
    return Driven(**json.loads(driver.stdout.read())), asked


def as_table(found: Mapping[float, tuple[Driven, Sequence[Cost]]]) -> Table:
    """Return what was found at each rate, a column each."""
    table = Table("results a minute", *(f"{rate:,.0f}" for rate in found))
    for name, figure in FIGURES.items():
        table.add_row(name, *(figure(rate, driven, asked) for rate, (driven, asked) in found.items()))
    return table


def _worst(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({max(values):.2f})" if values else ""


FIGURES: Mapping[str, Callable[[float, Driven, Sequence[Cost]], str]] = {
    "written": lambda rate, driven, asked: f"{driven.a_minute(driven.written):,.0f}",
    "entered": lambda rate, driven, asked: f"{driven.a_minute(driven.entered):,.0f}",
    "entered, of those asked for": lambda rate, driven, asked: f"{driven.a_minute(driven.entered) / rate:.1%}",
    "driver, of a core": lambda rate, driven, asked: f"{driven.cpu / driven.seconds:.1%}",
    "driver, CPU ms a result": lambda rate, driven, asked: f"{1000 * driven.cpu / max(1, driven.entered):.2f}",
    "driver, peak MB": lambda rate, driven, asked: f"{driven.peak_mb:.0f}",
    "times status": lambda rate, driven, asked: str(len(asked)),
    "status, CPU s (worst)": lambda rate, driven, asked: _worst([each.cpu for each in asked]),
    "status, wall s (worst)": lambda rate, driven, asked: _worst([each.wall for each in asked]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run folder; the search goes on in it")
    parser.add_argument("--rates", type=float, nargs="+", default=[1000.0], help="results a minute")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each rate")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(asdict(drive(arguments.run, arguments.rates[0], arguments.seconds))))
        return
    found = {rate: under_load(arguments.run, rate, arguments.seconds) for rate in arguments.rates}
    Console().print(as_table(found))


if __name__ == "__main__":
    main()
