"""One attempt at one candidate: train it, predict with it, score it. Never imports the candidate.

Two stages run the candidate's code, each in a sandbox of its own; this process alone reads the labels. Whatever a
candidate does comes back as a `Result` with a status; an exception means that the host or the task is at fault.
"""

from __future__ import annotations

import hashlib
import math
import platform
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file

from evohpc import envelopes
from evohpc.config import EvaluationConfig
from evohpc.errors import EnvelopeError, EvaluationError, TaskError
from evohpc.records import Attempt, Result, Status
from evohpc.sandbox import outputs
from evohpc.sandbox.base import Ending, Limits, Outcome, Runtime, Stage
from evohpc.sandbox.outputs import Untrusted
from evohpc.tasks import orders
from evohpc.tasks.base import Score, Task, load_task
from evohpc.tasks.orders import Order, Report

WORKER = "evohpc.tasks.worker"
_MB = 1 << 20
_MAX_REPORT_BYTES = 1 << 16
_MAX_CHECKPOINTS = 5000
_MAX_DETAIL = 300


class Failed(Exception):
    """The candidate failed: its status, and a line that says how."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What candidates are evaluated on: files made by `Task.prepare`, and the task."""

    task: str
    """A built-in task, or 'path/to/file.py:ClassName'."""
    task_options: Mapping[str, Any]
    seed: int
    train: Path
    inputs: Path
    labels: Path
    config: EvaluationConfig


@dataclass
class Evaluator:
    """Evaluates candidates one after the other on one benchmark."""

    benchmark: Benchmark
    runtime: Runtime
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the packages in the sandbox, for the record."""

    def evaluate(self, attempt: Attempt, source: bytes, keep_log: Callable[[bytes], None] | None = None) -> Result:
        """Evaluate one candidate.

        Args:
            source: the whole module.
            keep_log: is given what the candidate printed, if anything.

        Raises:
            EvaluationError: the sandbox failed.
            TaskError: the task's own `score` or `fitness` failed.
        """
        with tempfile.TemporaryDirectory(prefix="evohpc-", ignore_cleanup_errors=True) as folder:
            trial = _Trial(self, source, Path(folder))
            result = trial.run(attempt)
            if keep_log is not None and trial.log:
                keep_log(trial.log[-self.benchmark.config.log_kb * 1024 :])
            return result

    @cached_property
    def task(self) -> Task:
        """The task; its own code, never the candidate's, runs in this process."""
        return load_task(self.benchmark.task, self.benchmark.task_options)

    @cached_property
    def labels(self) -> dict[str, np.ndarray[Any, Any]]:
        """The validation labels; they leave this process only as scores."""
        return dict(load_file(self.benchmark.labels))


class _Trial:
    """One attempt in progress."""

    def __init__(self, evaluator: Evaluator, source: bytes, folder: Path) -> None:
        self.evaluator, self.source, self.folder = evaluator, source, folder
        self.benchmark = evaluator.benchmark
        self.seconds: dict[str, float] = {}
        self.log = b""
        self._time_left = self.benchmark.config.time_limit_s

    def run(self, attempt: Attempt) -> Result:
        started = time.perf_counter()
        outcome: dict[str, Any]
        try:
            outcome = {"status": Status.TRAINED, **self._train_and_score()}
        except Failed as failure:
            outcome = {"status": failure.status, "detail": one_line(failure.detail)}
        self.seconds["total"] = time.perf_counter() - started
        return Result(
            candidate_id=attempt.candidate_id,
            attempt=attempt.attempt,
            seconds={name: round(seconds, 4) for name, seconds in self.seconds.items()},
            isolation=self.evaluator.runtime.isolation,
            **provenance(self.source, self.evaluator.versions),
            **outcome,
        )

    def _train_and_score(self) -> dict[str, Any]:
        trained = self._stage("train", {orders.DATA: self.benchmark.train})
        report = self._report(trained)
        weights = trained / orders.WEIGHTS
        num_params = self._count(weights)
        self._report(predicted := self._stage("predict", {orders.DATA: self.benchmark.inputs, orders.WEIGHTS: weights}))
        started = time.perf_counter()
        score = self._score(self._predictions(predicted / orders.PREDICTIONS, weights))
        fitness = self._own(self.evaluator.task.fitness, num_params, score.error)
        self.seconds["score"] = time.perf_counter() - started
        reported = {f"reported_{name}": value for name, value in report.last_row.items()}
        return {
            "num_params": num_params,
            "error": score.error,
            "fitness": fitness,
            "metrics": {**reported, **score.metrics},
        }

    def _stage(self, name: Literal["train", "predict"], inputs: Mapping[str, Path]) -> Path:
        """Run a stage; return its OUT. A stage that did not end by itself is the candidate's failure."""
        benchmark, config = self.benchmark, self.benchmark.config
        candidate, out = self.folder / orders.CANDIDATE, self.folder / name
        candidate.write_bytes(self.source)
        out.mkdir()
        task, file = benchmark.task, {}
        if ".py:" in task:
            path, _, class_name = task.rpartition(":")
            task, file = f"{orders.TASK_FILE}:{class_name}", {orders.TASK_FILE: Path(path)}
        order = Order(
            name, task, dict(benchmark.task_options), _seed(benchmark.seed, name), config.threads, config.max_params
        )
        stage = Stage(
            entry=WORKER,
            order=envelopes.encode(order).encode(),
            inputs={**inputs, **file, orders.CANDIDATE: candidate},
            out=out,
            limits=_limits(config, self._time_left),
            threads=config.threads,
        )
        outcome = self.evaluator.runtime.run(stage)
        self.log += outcome.log
        self._time_left -= outcome.seconds
        self._check_ending(name, outcome)
        self._account(out, outcome)
        return out

    def _check_ending(self, name: str, outcome: Outcome) -> None:
        config = self.benchmark.config
        if outcome.ending is Ending.TIMEOUT or outcome.exit_code == -signal.SIGXCPU:
            raise Failed(Status.TIMEOUT, f"not done after {config.time_limit_s:g} s, in the {name} stage")
        if outcome.ending is Ending.OUT_OF_MEMORY:
            raise Failed(Status.OUT_OF_MEMORY, f"over {config.memory_mb} MB in the {name} stage")
        if outcome.ending is Ending.DISK_LIMIT:
            raise Failed(Status.DISK_LIMIT, f"over {config.disk_mb} MB or too many files in the {name} stage")
        if outcome.ending is Ending.PROCESS_LIMIT:
            raise Failed(Status.PROTOCOL_VIOLATION, f"too many processes and threads in the {name} stage")
        if outcome.ending is Ending.SIGNALLED:
            raise Failed(Status.TRAIN_ERROR, f"died of {_signal_name(-outcome.exit_code)} in the {name} stage")

    def _account(self, out: Path, outcome: Outcome) -> None:
        """Note how long each step took. The steps are the stage's word, their sum is not."""
        try:
            said = _read_report(out).seconds
        except Untrusted:
            said = {}
        left = outcome.seconds
        for name, target in (("build", "check"), ("check", "check"), ("train", "train"), ("predict", "predict")):
            seconds = min(left, max(0.0, said.get(name, 0.0)))
            left -= seconds
            if name in said:
                self.seconds[target] = self.seconds.get(target, 0.0) + seconds
        self.seconds["start"] = self.seconds.get("start", 0.0) + left

    def _report(self, out: Path) -> Report:
        """Return what a stage says of itself; raise what it says went wrong."""
        try:
            report = _read_report(out)
        except Untrusted as error:
            raise Failed(Status.PROTOCOL_VIOLATION, str(error)) from None
        if report.status == orders.OK:
            return report
        if report.status in set(Status) and Status(report.status).is_candidate_fault:
            raise Failed(Status(report.status), report.detail)
        raise Failed(Status.PROTOCOL_VIOLATION, f"reports the status {report.status!r}")

    def _count(self, weights: Path) -> int:
        """Return the size of the model: the numbers in its largest checkpoint, buffers and all."""
        try:
            files = outputs.list_files(weights, _MAX_CHECKPOINTS)
            headers = [outputs.read_header(path, self.benchmark.config.disk_mb * _MB) for path in files]
        except Untrusted as error:
            raise Failed(Status.PROTOCOL_VIOLATION, str(error)) from None
        if not headers:
            raise Failed(Status.PROTOCOL_VIOLATION, "left no weights")
        size = max(sum(entry.numbers for entry in header.values()) for header in headers)
        if size > self.benchmark.config.max_params:
            raise Failed(
                Status.PROTOCOL_VIOLATION,
                f"the weights hold {size} numbers, evaluation.max_params is {self.benchmark.config.max_params}",
            )
        return size

    def _predictions(self, folder: Path, weights: Path) -> list[dict[str, np.ndarray[Any, Any]]]:
        """Return the predictions of all checkpoints."""
        limit = self.benchmark.config.disk_mb * _MB
        try:
            files = outputs.list_files(folder, _MAX_CHECKPOINTS)
            if [path.name for path in files] != [path.name for path in outputs.list_files(weights, _MAX_CHECKPOINTS)]:
                raise Failed(Status.PROTOCOL_VIOLATION, "not one file of predictions for each checkpoint")
            return [outputs.read_arrays(path, limit) for path in files]
        except Untrusted as error:
            raise Failed(Status.PROTOCOL_VIOLATION, str(error)) from None
        except FloatingPointError as error:
            raise Failed(Status.NONFINITE, str(error)) from None

    def _score(self, predictions: list[dict[str, np.ndarray[Any, Any]]]) -> Score:
        task = self.evaluator.task
        try:
            score = task.score(predictions, self.evaluator.labels)
        except ValueError as error:
            raise Failed(Status.SHAPE_ERROR, str(error)) from None
        except Exception as error:
            raise TaskError(f"task {task.interface.name}: score raised {type(error).__name__}: {error}") from error
        numbers = [score.error, *score.metrics.values()]
        if not all(math.isfinite(number) for number in numbers) or not 0 <= score.error <= 1:
            raise TaskError(f"task {task.interface.name}: score must be finite and its error in [0, 1]: {score}")
        if task.interface.metric not in score.metrics:
            raise TaskError(f"task {task.interface.name}: score has no metric {task.interface.metric!r}")
        return score

    def _own(self, function: Callable[[int, float], float], num_params: int, error: float) -> float:
        try:
            return float(function(num_params, error))
        except Exception as problem:
            raise TaskError(f"fitness({num_params}, {error}) raised {type(problem).__name__}: {problem}") from problem


def provenance(source: bytes, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a `Result` that say what ran where and when."""
    return {
        "host": socket.gethostname(),
        "source_sha256": hashlib.sha256(source).hexdigest(),
        "versions": {"python": platform.python_version(), "evohpc": metadata.version("evohpc"), **versions},
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def one_line(text: str) -> str:
    """Return text that a candidate chose as at most 300 printable characters: it goes into tables and prompts."""
    short = " ".join(text[: 4 * _MAX_DETAIL].split())
    printable = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in short)
    return printable if len(printable) <= _MAX_DETAIL else printable[: _MAX_DETAIL - 3] + "..."


def _read_report(out: Path) -> Report:
    try:
        return envelopes.decode(outputs.read_bytes(out / orders.REPORT, _MAX_REPORT_BYTES), Report)
    except EnvelopeError as error:
        raise Untrusted(f"{orders.REPORT}: {error}") from None


def _limits(config: EvaluationConfig, wall_s: float) -> Limits:
    return Limits(
        wall_s=max(wall_s, 0.0),
        memory_bytes=config.memory_mb * _MB,
        disk_bytes=config.disk_mb * _MB,
        log_bytes=config.log_kb * 1024,
    )


def _seed(seed: int, stage: str) -> int:
    """Return the stage's seed: another for each, so that no random state of training reaches prediction."""
    key = ("train", "predict").index(stage)
    return int(np.random.SeedSequence(seed, spawn_key=(key,)).generate_state(1)[0])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def scratch_is_full() -> bool:
    """Say whether the disk of the scratch folders is nearly full, which is no candidate's fault."""
    return shutil.disk_usage(tempfile.gettempdir()).free < 16 * _MB


__all__ = ["Benchmark", "EvaluationError", "Evaluator", "one_line", "provenance"]
