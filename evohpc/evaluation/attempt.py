"""One attempt at one candidate: train it, predict with it, score it. Never imports the candidate.

Its code runs in sandboxed stages, each a process of its own; this process alone reads the labels. Whatever a candidate
does comes back as a `Result` with a status; an exception means that the host or the task is at fault.
"""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save_file

from evohpc import envelopes
from evohpc.errors import EvaluationError
from evohpc.evaluation import benchmark, device, rows, verdict
from evohpc.evaluation.benchmark import WORKER, Benchmark, limits
from evohpc.evaluation.provenance import provenance
from evohpc.evaluation.stage import protocol
from evohpc.evaluation.stage.protocol import Order
from evohpc.evaluation.verdict import Failed, KeepModel, Predictions
from evohpc.messages import Attempt, Result, Status
from evohpc.sandbox import removal, scratch
from evohpc.sandbox.base import Outcome, Processor, Runtime, Stage
from evohpc.sandbox.outputs import Untrusted
from evohpc.tasks.base import Score, Task, hidden_modules, load_task
from evohpc.tasks.data import is_whole, read_arrays


@dataclass
class Evaluator:
    """Evaluates candidates one after the other on one benchmark."""

    benchmark: Benchmark
    runtime: Runtime
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the packages in the sandbox, for the record."""
    _lower: dict[int, Evaluator] = field(default_factory=dict, init=False)

    def evaluate(
        self,
        attempt: Attempt,
        source: bytes,
        keep_log: Callable[[bytes], None] = lambda text: None,
        keep_model: KeepModel | None = None,
    ) -> Result:
        """Evaluate one candidate.

        Args:
            source: the whole module.
            keep_log: is given what the candidate printed, if anything.
            keep_model: is given the model that was scored, if it was.

        Raises:
            EvaluationError: the sandbox failed, the device cannot be used, or the run's data is gone.
            TaskError: the task cannot be loaded.
            TaskCodeError: its own `score` or `fitness` failed.
        """
        on = self._at(attempt.rung)
        result, trial = on._try(attempt, source, self.benchmark.config.time_limit_s, keep_model)
        if device.is_suspect(result):
            device.check(self.benchmark, self.runtime, result)
            result, trial = on._try(attempt, source, trial.time_left, keep_model)
        if trial.log:
            keep_log(verdict.printable(trial.log[-self.benchmark.config.log_kb * 1024 :]))
        return result

    def _at(self, rung: int | None) -> Evaluator:
        if rung is None or (on := self.benchmark.at(rung)) is self.benchmark:
            return self
        if rung not in self._lower:
            self._lower[rung] = replace(self, benchmark=on)
        return self._lower[rung]

    def _try(
        self, attempt: Attempt, source: bytes, seconds: float, keep_model: KeepModel | None
    ) -> tuple[Result, _Trial]:
        with scratch.folder("evohpc-") as folder:
            trial = _Trial(self, source, folder, seconds, keep_model)
            try:
                return trial.run(attempt), trial
            finally:
                self.runtime.end_candidate()

    @cached_property
    def task(self) -> Task:
        """The task; its own code, never the candidate's, runs in this process."""
        return load_task(self.benchmark.task, self.benchmark.task_options)

    @cached_property
    def labels(self) -> Predictions:
        """The validation labels; they leave this process only as scores."""
        _check_whole(self.benchmark.labels)
        return read_arrays(self.benchmark.labels)

    @cached_property
    def inputs(self) -> Predictions:
        """The validation inputs."""
        _check_whole(self.benchmark.inputs)
        return read_arrays(self.benchmark.inputs)

    @cached_property
    def split(self) -> rows.Split | None:
        """How the inputs are cut to confirm a prediction: as the labels tell, which no candidate knows."""
        _check_whole(self.benchmark.labels)
        secret = hashlib.sha256(self.benchmark.labels.read_bytes()).digest()
        return rows.split(self.task, self.inputs, int.from_bytes(secret[:16], "big"))

    def check_files(self) -> None:
        """See that a failure does not come from files that someone has removed or altered since the search began.

        Raises:
            EvaluationError: the data is not whole.
            TaskError: the task cannot be loaded.
        """
        _check_whole(self.benchmark.train)
        _check_whole(self.benchmark.inputs)
        load_task(self.benchmark.task, self.benchmark.task_options)


class _Trial:
    """One attempt in progress."""

    def __init__(
        self, evaluator: Evaluator, source: bytes, folder: Path, seconds: float, keep_model: KeepModel | None
    ) -> None:
        self._evaluator, self._folder, self._keep_model = evaluator, folder, keep_model
        self._benchmark, self._config = evaluator.benchmark, evaluator.benchmark.config
        self._source = source
        self.time_left = seconds
        self._spent, self._processor = 0.0, Processor()
        self._seconds: dict[str, float] = {}
        self.log = b""

    def run(self, attempt: Attempt) -> Result:
        """Return what became of it."""
        started = time.perf_counter()
        try:
            outcome = {"status": Status.TRAINED, **self._train_and_score()}
        except Failed as failure:
            removal.remove(self._folder)  # what is full after that is so by others' doing
            if scratch.is_full(self._folder.parent):  # a file cut short there may look like any failure
                raise EvaluationError(f"{tempfile.gettempdir()} on {socket.gethostname()} is full") from None
            if failure.status is Status.BUILD_ERROR:  # the task and its data are loaded before the candidate
                self._evaluator.check_files()
            outcome = {"status": failure.status, "detail": failure.detail}
        self._seconds["total"] = time.perf_counter() - started
        return Result(
            candidate_id=attempt.candidate_id,
            attempt=attempt.attempt,
            seconds={name: round(seconds, 4) for name, seconds in self._seconds.items()},
            isolation=self._evaluator.runtime.isolation,
            **provenance(self._source, self._evaluator.versions),
            **outcome,
        )

    def _train_and_score(self) -> dict[str, Any]:
        trained = self._stage("train", {protocol.DATA: self._benchmark.train})
        report = verdict.check_report("train", trained)
        num_params, checkpoints = verdict.take_checkpoints(
            trained / protocol.WEIGHTS,
            self._folder / protocol.WEIGHTS,
            self._config,
            getattr(self._evaluator.task, "checkpoints", None),
        )
        removal.remove(trained)  # Landlock would not keep a later stage from asking for names, sizes and times in there
        first = self._predict("predict", checkpoints, {protocol.DATA: self._benchmark.inputs})
        best, choice = self._choose(first)
        score = self._score([self._confirm(checkpoints[best], first[best])])
        verdict.check_finite(score, choice)
        fitness = verdict.fitness(self._evaluator.task, num_params, score.error)
        if self._keep_model is not None:
            self._keep_model(*self._save(checkpoints[best]))
        reported = {f"reported_{name}": value for name, value in report.last_row.items()}
        metrics = {**reported, **choice, **score.metrics}
        return {"num_params": num_params, "error": score.error, "fitness": fitness, "metrics": metrics}

    def _choose(self, predictions: list[Predictions]) -> tuple[int, Mapping[str, float]]:
        """Return the index of the best checkpoint, and what tells of that choice."""
        score = self._score(predictions)
        if score.checkpoint is not None:
            return score.checkpoint, score.choice
        errors = [self._score([checkpoint]).error for checkpoint in predictions]
        return int(np.argmin([error if np.isfinite(error) else np.inf for error in errors])), score.choice

    def _confirm(self, checkpoint: Path, first: Predictions) -> Predictions:
        """Return what a checkpoint predicts in processes that see no other one."""
        split, inputs = self._evaluator.split, self._evaluator.inputs
        if split is None:
            return self._predict("confirm", [checkpoint], {protocol.DATA: self._benchmark.inputs})[0]

        def predict(name: str, batches: list[Predictions]) -> list[Predictions]:
            folder = self._new_folder("batches")
            for number, batch in enumerate(batches):
                save_file(batch, folder / f"{number:05d}")
            return self._predict(name, [checkpoint], {protocol.BATCHES: folder}, len(batches))

        return rows.confirm(split, inputs, first, predict)

    def _predict(
        self, name: str, checkpoints: list[Path], data: Mapping[str, Path], batches: int = 1
    ) -> list[Predictions]:
        """Return the predictions of checkpoints, for each of its batches, from a process that sees no others."""
        weights = self._new_folder("weights")
        for path in checkpoints:
            os.rename(path, weights / path.name)
        out = self._stage(name, {**data, protocol.WEIGHTS: weights})
        for path in checkpoints:
            os.rename(weights / path.name, path)
        verdict.check_report(name, out)
        names = [protocol.prediction(number, batch) for number in range(len(checkpoints)) for batch in range(batches)]
        predictions = verdict.read_predictions(out / protocol.PREDICTIONS, names, self._config)
        removal.remove(out)
        return predictions

    def _save(self, checkpoint: Path) -> tuple[bytes, bool]:
        """Return a checkpoint as a file with the names, shapes and types of its tensors, see `KeepModel`."""
        weights = self._new_folder("weights")
        os.rename(checkpoint, weights / checkpoint.name)
        out = self._stage("save", {protocol.DATA: self._benchmark.inputs, protocol.WEIGHTS: weights})
        is_plain = verdict.check_report("save", out).last_row.get(protocol.PLAIN) == 1
        return verdict.read_model(out / protocol.MODEL, self._config), is_plain

    def _new_folder(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))

    def _score(self, predictions: list[Predictions]) -> Score:
        started = time.perf_counter()
        try:
            return verdict.score(self._evaluator.task, predictions, self._evaluator.labels)
        finally:
            self._seconds["score"] = self._seconds.get("score", 0.0) + time.perf_counter() - started

    def _stage(self, name: str, inputs: Mapping[str, Path]) -> Path:
        """Run a stage; return its OUT."""
        out = self._new_folder(name)
        candidate = self._folder / protocol.CANDIDATE
        candidate.write_bytes(self._source)
        task = self._benchmark.task
        own = {} if task.file is None else {protocol.TASK_FILE: task.file}
        kind: Literal["train", "predict"] = "train" if name == "train" else "predict"
        stage: Literal["train", "predict", "save"] = "save" if name == "save" else kind
        options, seed = dict(self._benchmark.task_options), _seed(self._benchmark.seed, name)
        order = Order(stage, benchmark.moved(task), options, seed, self._config.threads, self._config.max_params)
        outcome = self._evaluator.runtime.run(
            Stage(
                entry=WORKER,
                order=envelopes.encode(order).encode(),
                inputs={**inputs, **own, protocol.CANDIDATE: candidate},
                out=out,
                limits=limits(self._config, self.time_left),
                threads=self._config.threads,
                hidden=hidden_modules(self._evaluator.task, kind),
            )
        )
        self._account(out, outcome)
        verdict.check_ending(name, outcome, self._config, self._processor, self._spent)
        return out

    def _account(self, out: Path, outcome: Outcome) -> None:
        """Note what a stage printed and how long its steps took: their sum is measured, the shares are its word."""
        self.log += outcome.log
        self.time_left -= outcome.seconds
        self._spent += outcome.seconds
        self._processor += outcome.processor
        self._seconds["cpu"] = self._processor.cpu_s
        try:
            said = verdict.read_report(out).seconds
        except Untrusted:
            said = {}
        left = outcome.seconds
        for step, name in (("build", "check"), ("check", "check"), ("train", "train"), ("predict", "predict")):
            seconds = min(left, max(0.0, said.get(step, 0.0)))
            left -= seconds
            if step in said:
                self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        self._seconds["start"] = self._seconds.get("start", 0.0) + left


def _check_whole(data: Path) -> None:
    if not is_whole(data):
        raise EvaluationError(f"{data} is missing or not whole; the next driver of the run makes it anew")


def _seed(seed: int, stage: str) -> int:
    """Return a stage's seed: training and prediction have different ones, so no random state is common to them."""
    key = {"train": 0, "predict": 1, "confirm": 1, "save": 1, "again": 4}[stage]  # 2 and 3 are a task's
    return int(np.random.SeedSequence(seed, spawn_key=(key,)).generate_state(1)[0])
