"""Evaluates candidates of a run where it is called: on a compute node by Slurm, or in a local worker process.

python -m evohpc.evaluation.worker --serve RUN --parent PID     a local worker: see jobs/local.py
"""

from __future__ import annotations

import argparse
import codecs
import json
import logging
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol

from evohpc import envelopes, linux
from evohpc.config.search import Config, load_resolved
from evohpc.config.site import load_site
from evohpc.errors import EvaluationError, EvohpcError, StorageError, TaskCodeError, TaskError
from evohpc.evaluation import device
from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.benchmark import WORKER, Benchmark, shared_files
from evohpc.evaluation.curve import Measured
from evohpc.evaluation.provenance import provenance
from evohpc.evaluation.stage import protocol
from evohpc.evaluation.verdict import one_line
from evohpc.evolution.screening import screen
from evohpc.files import is_utf8, write_atomic, write_once
from evohpc.messages import Attempt, EvaluationJob, Isolation, Result, Status
from evohpc.run_folder import RoundDir, RunDir, read_provenance
from evohpc.sandbox import apptainer_runtime, confine, scratch
from evohpc.sandbox.answers import Answers
from evohpc.sandbox.apptainer_runtime import ApptainerRuntime
from evohpc.sandbox.probe import probe, require
from evohpc.sandbox.process_runtime import ProcessRuntime
from evohpc.tasks.data import draw_secret, prepare

log = logging.getLogger(__name__)

KeepLog = Callable[[bytes], None]


class Evaluate(Protocol):
    """See `Evaluator.evaluate`."""

    def __call__(self, attempt: Attempt, source: bytes, keep_log: KeepLog, *, is_followed: bool) -> Result:
        """Evaluate one candidate."""


def run_array_task(run: str, round: int, name: str, index: int) -> None:
    """Evaluate the attempts of one array task that have no result yet, and write their results.

    This is what a scheduler's job calls. A failure of one attempt never keeps the next from being tried.

    Args:
        run: the run folder.
        name: of the `EvaluationJob` in RUN/rounds/<round>/jobs/.
        index: of the task in it.
    """
    folder = RunDir(Path(run))
    evaluate: Evaluate
    with ExitStack() as stack:
        try:
            evaluate = stack.enter_context(evaluator(folder)).evaluate
        except EvohpcError as error:
            evaluate = _always(error)
        evaluate_task(folder, round, name, index, evaluate)


def evaluate_task(run: RunDir, round: int, name: str, index: int, evaluate: Evaluate) -> None:
    """As `run_array_task`, with an evaluator that is there already."""
    folder = run.round(round)
    try:
        data = folder.job(name).read_bytes()
    except FileNotFoundError:
        if folder.archive.exists():  # the round is over: a task that Slurm started again, or late
            return
        raise
    envelope = json.loads(data)
    job = envelopes.unseal(data, _run_id(run), EvaluationJob)
    seal = partial(envelopes.seal, envelope["run_id"], int(envelope["epoch"]))
    attempts = job.tasks[index]
    for number, attempt in enumerate(attempts, start=1):
        try:
            _evaluate_attempt(folder, attempt, evaluate, seal, attempts[number:])
        except Exception:  # no result, so the driver will call it lost and try again; the next one must have its turn
            log.exception("%s, attempt %d", attempt.candidate_id, attempt.attempt)


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
        source = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise TaskError(f"{file}: cannot read the candidate: {error.strerror}") from None
    with tempfile.TemporaryDirectory(prefix="evohpc-run-") as folder:
        run = RunDir(Path(folder))
        if config.task.file is not None:
            write_atomic(run.task_file, config.task.file.read_bytes())
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
def evaluator(run: RunDir) -> Iterator[Evaluator]:
    """Start what evaluates a run's candidates on this host; end it afterwards.

    Raises:
        EvaluationError: this host cannot evaluate: it isolates too little, a part is missing, or there is no room.
        ConfigError: the run's config or site profile cannot be read.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(scratch.private_folder())
            ready = _start(run, stack)
        except (OSError, StorageError) as error:
            raise EvaluationError(f"{socket.gethostname()} cannot start evaluating: {error}") from error
        yield ready


def _always(error: EvohpcError) -> Evaluate:
    """Return what fails for the same reason whatever it is asked to evaluate."""

    def refuse(attempt: Attempt, source: bytes, keep_log: KeepLog, *, is_followed: bool) -> Result:
        raise error

    return refuse


def _start(run: RunDir, stack: ExitStack) -> Evaluator:
    config = load_resolved(run.config)
    task = config.task.moved(run.task_file.resolve())
    benchmark = Benchmark(
        task, config.task_options, config.search.seed, run.train, run.inputs, run.labels, config.evaluation
    )
    start = _start_containers if config.evaluation.runtime == "apptainer" else _start_processes
    runtime = start(run, config.evaluation.minimum_isolation)
    stack.callback(runtime.close)
    ready = Evaluator(benchmark, runtime, runtime.versions)
    if protocol.has_gpus():  # better now, and with a reason, than candidate after candidate
        device.check(benchmark, runtime)
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


def _evaluate_attempt(
    folder: RoundDir, attempt: Attempt, evaluate: Evaluate, seal: Callable[[Result], bytes], later: Sequence[Attempt]
) -> None:
    path = folder.result(attempt.candidate_id, attempt.attempt)
    if path.exists():
        return
    is_followed = any(not folder.result(other.candidate_id, other.attempt).exists() for other in later)
    source = folder.candidate(attempt.candidate_id).read_bytes()

    def keep_log(text: bytes) -> None:
        write_atomic(folder.log(attempt.candidate_id, attempt.attempt), text)

    try:
        result = evaluate(attempt, source, keep_log, is_followed=is_followed)
    except EvohpcError as error:
        log.warning("%s: %s", attempt.candidate_id, error)
        result = Result(
            attempt.candidate_id,
            attempt.attempt,
            Status.TASK_ERROR if isinstance(error, TaskCodeError) else Status.CONTAINER_ERROR,
            one_line(str(error)),
            **provenance(source, {}),
        )
    write_once(path, seal(result))


def _run_id(run: RunDir) -> str:
    return str(read_provenance(run)["run_id"])


def serve(run: RunDir) -> None:
    """Evaluate the array tasks that stdin names, one JSON line each, and answer each with a line, until it ends.

    A refusal in an answer means that this host cannot evaluate at all; then no result was written.
    """
    answers = Answers()
    with ExitStack() as stack:
        try:
            ready = stack.enter_context(evaluator(run))
        except EvohpcError as error:
            for _ in sys.stdin:
                answers.say(json.dumps({"refusal": str(error)}))
            return
        for line in sys.stdin:
            order = json.loads(line)
            evaluate_task(run, order["round"], order["name"], order["index"], ready.evaluate)
            answers.say(json.dumps({"refusal": ""}))


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # another one must not keep this process from tidying up
    sys.exit(0)


def main() -> None:
    """Be a worker of `LocalRunner`."""
    parser = argparse.ArgumentParser(prog="python -m evohpc.evaluation.worker")
    parser.add_argument("--serve", metavar="RUN", type=Path, required=True)
    parser.add_argument("--parent", metavar="PID", type=int, required=True, help="the driver; end when it does")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    # The end of stdin says it too, but is not looked at while a candidate runs, nor before the orders in it are done.
    linux.die_with_parent(options.parent, signal.SIGTERM)
    serve(RunDir(options.serve))


if __name__ == "__main__":
    main()
