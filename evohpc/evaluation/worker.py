"""Evaluates candidates of a run where it is called: on a compute node by Slurm, or in a local worker process.

python -m evohpc.evaluation.worker --serve RUN --parent PID     a worker: see jobs/worker_process.py
"""

from __future__ import annotations

import argparse
import codecs
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from evohpc import envelopes, linux
from evohpc.config.search import Config, load_resolved
from evohpc.config.site import load_site
from evohpc.errors import Ended, EvaluationError, EvohpcError, StorageError, TaskCodeError, TaskError
from evohpc.evaluation import device
from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.benchmark import WORKER, Benchmark, shared_files
from evohpc.evaluation.curve import Measured
from evohpc.evaluation.orders import KeepLog, TaskOrder, evaluate_task, refuse
from evohpc.evaluation.provenance import provenance
from evohpc.evaluation.stage import protocol
from evohpc.evolution.screening import screen
from evohpc.files import is_utf8, read_input, write_atomic
from evohpc.messages import Attempt, Isolation
from evohpc.run_folder import RunDir
from evohpc.sandbox import apptainer_runtime, confine, scratch
from evohpc.sandbox.answers import Answers
from evohpc.sandbox.apptainer_runtime import ApptainerRuntime
from evohpc.sandbox.probe import probe, require
from evohpc.sandbox.process_runtime import ProcessRuntime
from evohpc.tasks.data import draw_secret, prepare


def run_array_task(run: str, round: int, name: str, index: int) -> None:
    """Evaluate the attempts of one array task that have no result yet, and write their results.

    This is what a scheduler's job calls.

    Args:
        run: the run folder.
        name: of the `EvaluationJob` in RUN/rounds/<round>/jobs/.
        index: of the task in it.
    """
    folder = RunDir(Path(run))
    order = TaskOrder(round, name, index)
    with ExitStack() as stack:
        try:
            ready = stack.enter_context(evaluator(folder))
        except EvohpcError as error:
            refuse(folder, order, error)
        else:
            evaluate_task(folder, order, ready.evaluate)


def evaluate_file(file: Path, config: Config, keep_log: KeepLog = lambda text: None) -> Measured:
    """Screen and evaluate one candidate file outside of any run, in a temporary folder.

    Args:
        keep_log: is given what the candidate printed, if anything.

    Raises:
        EvaluationError: this host cannot evaluate as the config demands.
        TaskError: the task cannot be loaded, or the file not be read.
    """
    if not is_utf8(file):
        raise TaskError(f"the name {str(file)!r} is no UTF-8 text; rename it")
    try:
        source = read_input(file).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise TaskError(f"{file}: cannot read the candidate: {error.strerror}") from None
    with tempfile.TemporaryDirectory(prefix="evohpc-run-") as folder:
        run = RunDir(Path(folder))
        if config.task.file is not None:
            write_atomic(run.task_file, read_input(config.task.file))
        write_atomic(run.config, config.dump())
        draw_secret(run)
        verdict = screen(source.decode(errors="replace"), prepare(run, config.task.file), config.screening)
        if verdict.status.is_refused:
            return Measured(file.stem, 1, verdict.status, verdict.detail, **provenance(source, {}))
        with evaluator(run) as ready:
            try:
                return ready.evaluate(Attempt(file.stem, 1), source, keep_log)
            except TaskCodeError as error:  # it names the copy, which will be gone
                copy, own = str(run.task_file.resolve()), str(config.task.file)
                raise TaskCodeError(str(error).replace(copy, own)) from error


@contextmanager
def evaluator(run: RunDir, gpu_share: float = 1.0) -> Iterator[Evaluator]:
    """Start what evaluates a run's candidates on this host; end it afterwards.

    Args:
        gpu_share: how much of a GPU's memory a candidate may have.

    Raises:
        EvaluationError: this host cannot evaluate: it isolates too little, a part is missing, or there is no room.
        ConfigError: the run's config or site profile cannot be read.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(scratch.private_folder())
            ready = _start(run, stack, gpu_share)
        except (OSError, StorageError) as error:
            raise EvaluationError(f"{socket.gethostname()} cannot start evaluating: {error}") from error
        yield ready


def _start(run: RunDir, stack: ExitStack, gpu_share: float) -> Evaluator:
    config = load_resolved(run.config)
    task = config.task.moved(run.task_file.resolve())
    benchmark = Benchmark(
        task, config.task_options, config.search.seed, run.train, run.inputs, run.labels, config.evaluation
    )
    start = _start_containers if config.evaluation.runtime == "apptainer" else _start_processes
    runtime = start(run, config.evaluation.minimum_isolation)
    stack.callback(runtime.close)
    ready = Evaluator(benchmark, runtime, runtime.versions, gpu_share)
    if protocol.has_gpus():  # better now, and with a reason, than candidate after candidate
        device.check(benchmark, runtime, share=gpu_share)
    return ready


def _start_processes(run: RunDir, minimum: Isolation) -> ProcessRuntime:
    found = probe(secret=run.labels)
    require(minimum, found)
    exposed = [root for root in confine.libraries() if root.resolve() in run.labels.resolve().parents]
    if exposed:
        raise EvaluationError(f"{run.path} lies in {exposed[0]}, which candidates may read; move the run elsewhere")
    return ProcessRuntime(WORKER, found.isolation)


def _start_containers(run: RunDir, minimum: Isolation) -> ApptainerRuntime:
    if not run.site.exists():
        raise EvaluationError("evaluation.runtime is apptainer, which needs a site profile: pass --site FILE")
    site = load_site(run.site).container
    return apptainer_runtime.start(site, run.labels, minimum, WORKER, shared_files(run))


def serve(run: RunDir, gpu_share: float = 1.0) -> None:
    """Evaluate the `TaskOrder`s of stdin, one JSON line each, and answer each with a line, until it ends.

    A refusal in an answer means that this host cannot evaluate at all; then no result was written.
    """
    answers = Answers()
    with ExitStack() as stack:
        try:
            ready = stack.enter_context(evaluator(run, gpu_share))
        except EvohpcError as error:
            for _ in sys.stdin:
                answers.say(json.dumps({"refusal": str(error)}))
            return
        for line in sys.stdin:
            evaluate_task(run, envelopes.decode(line.encode(), TaskOrder), ready.evaluate)
            answers.say(json.dumps({"refusal": ""}))


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # another one must not keep this process from tidying up
    raise Ended(0)


def main() -> None:
    """Be a worker, as `evohpc.jobs.worker_process` starts it."""
    parser = argparse.ArgumentParser(prog="python -m evohpc.evaluation.worker")
    parser.add_argument("--serve", metavar="RUN", type=Path, required=True)
    parser.add_argument("--parent", metavar="PID", type=int, required=True, help="end when it does")
    parser.add_argument("--gpu-share", metavar="SHARE", type=float, default=1.0, help="of its memory, for a candidate")
    parser.add_argument("--cores", metavar="N", type=int, nargs="*", help="run on these alone")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    # The end of stdin says it too, but is not looked at while a candidate runs, nor before the orders in it are done.
    linux.die_with_parent(options.parent, signal.SIGTERM)
    if options.cores:
        os.sched_setaffinity(0, options.cores)
    serve(RunDir(options.serve), options.gpu_share)


if __name__ == "__main__":
    main()
