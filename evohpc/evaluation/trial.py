"""One attempt in progress: runs a candidate's stages, and keeps account of their time and output."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from evohpc import envelopes
from evohpc.evaluation import benchmark, rows, verdict
from evohpc.evaluation.benchmark import WORKER, limits
from evohpc.evaluation.known import Known
from evohpc.evaluation.stage import protocol
from evohpc.evaluation.stage.protocol import Kind, Order, Report
from evohpc.evaluation.verdict import KeepModel, Predictions
from evohpc.sandbox import removal
from evohpc.sandbox.base import Outcome, Processor, Stage
from evohpc.sandbox.outputs import Untrusted
from evohpc.tasks.base import Score, hidden_modules

Predict = Callable[[str, Mapping[str, Path], int], list[Predictions]]
"""Has a candidate predict in a new process: name of the stage, data in its IN, their number -> predictions of each."""

_STEPS = {"build": "check", "check": "check", "train": "train", "predict": "predict", "run": "run"}
"""The steps in a stage's report, and the names under which a result has their seconds."""
_SEEDS = {"train": 0, "predict": 1, "run": 1, "confirm": 1, "save": 1, "again": 4}
"""Keys of the seeds of stages, so that no random state is common to training and prediction. 2 and 3 are a task's."""

_HIDDEN = {"check": "train", "save": "predict"}
"""What is hidden from these stages is what is hidden from those."""


class Trial:
    """One attempt in progress. A stage that fails raises `Failed`, whoever asked for it."""

    def __init__(
        self, known: Known, source: bytes, folder: Path, seconds: float, keep_model: KeepModel | None = None
    ) -> None:
        """
        Args:
            source: of the candidate, the whole module.
            folder: for all that is written; whoever made it removes it.
            seconds: that all stages together may take.
            keep_model: is given the model that was scored, if the candidate is one.
        """
        self.known, self.source, self.folder, self.keep_model = known, source, folder, keep_model
        self.config = known.benchmark.config
        self.time_left = seconds
        self.used, self.processor = 0.0, Processor()
        """Wall seconds of all stages so far, and what they had of the processors; measured from outside."""
        self.seconds: dict[str, float] = {}
        """The same by step; how they share it is the candidate's word."""
        self.log = b""

    def stage(self, kind: Kind, name: str, data: Mapping[str, Path]) -> tuple[Path, Report]:
        """Run a stage; return its OUT, and its report, which says that all went well."""
        out, on = self.new_folder(name), self.known.benchmark
        candidate = self.folder / protocol.CANDIDATE
        candidate.write_bytes(self.source)
        own = {} if on.task.file is None else {protocol.TASK_FILE: on.task.file}
        seed = int(np.random.SeedSequence(on.seed, spawn_key=(_SEEDS[name],)).generate_state(1)[0])
        options, most = dict(on.task_options), self.config.max_params
        order = Order(kind, benchmark.moved(on.task), options, seed, self.config.threads, most, self.known.gpu_share)
        outcome = self.known.runtime.run(
            Stage(
                entry=WORKER,
                order=envelopes.encode(order).encode(),
                inputs={**data, **own, protocol.CANDIDATE: candidate},
                out=out,
                limits=limits(self.config, self.time_left),
                threads=self.config.threads,
                hidden=hidden_modules(self.known.task, _HIDDEN.get(kind, kind)),
            )
        )
        self._account(out, outcome)
        verdict.check_ending(name, outcome, self.config, self.processor, self.used)
        return out, verdict.check_report(name, out)

    def predictions(self, kind: Kind, name: str, data: Mapping[str, Path], files: Sequence[str]) -> list[Predictions]:
        """Run a stage that predicts; return what it leaves in files of these names."""
        out, _ = self.stage(kind, name, data)
        found = verdict.read_predictions(out / protocol.PREDICTIONS, files, self.config)
        removal.remove(out)
        return found

    def confirmed(self, first: Predictions, predict: Predict) -> Predictions:
        """Return what is predicted in two processes that see half of the rows each, and is what was predicted first.

        Raises:
            Failed: it is not.
        """
        split, inputs = self.known.split, self.known.inputs
        assert split is not None, "who asks knows that the rows are told"

        def in_batches(name: str, batches: list[Predictions]) -> list[Predictions]:
            folder = self.new_folder("batches")
            for number, batch in enumerate(batches):
                save_file(batch, folder / f"{number:05d}")
            return predict(name, {protocol.BATCHES: folder}, len(batches))

        return rows.confirm(split, inputs, first, in_batches)

    def score(self, predictions: list[Predictions]) -> Score:
        """Have the task score predictions."""
        started = time.perf_counter()
        try:
            return verdict.score(self.known.task, predictions, self.known.labels)
        finally:
            self.seconds["score"] = self.seconds.get("score", 0.0) + time.perf_counter() - started

    def new_folder(self, name: str) -> Path:
        """Return a new folder in that of the trial."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def _account(self, out: Path, outcome: Outcome) -> None:
        """Note what a stage printed and how long its steps took: their sum is measured, the shares are its word."""
        self.log += outcome.log
        self.time_left -= outcome.seconds
        self.used += outcome.seconds
        self.processor += outcome.processor
        self.seconds["cpu"] = self.processor.cpu_s
        try:
            said = verdict.read_report(out).seconds
        except Untrusted:
            said = {}
        left = outcome.seconds
        for step, name in _STEPS.items():
            seconds = min(left, max(0.0, said.get(step, 0.0)))
            left -= seconds
            if step in said:
                self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.seconds["start"] = self.seconds.get("start", 0.0) + left
