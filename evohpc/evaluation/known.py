"""What an evaluating process knows and no candidate does: the task, the labels, and how the inputs will be cut."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from evohpc.errors import EvaluationError
from evohpc.evaluation import rows
from evohpc.evaluation.benchmark import Benchmark
from evohpc.evaluation.verdict import Predictions
from evohpc.sandbox.base import Runtime
from evohpc.tasks.base import Task, load_task
from evohpc.tasks.data import is_whole, read_arrays


@dataclass
class Known:
    """A benchmark, its data once they are read, and where candidates run."""

    benchmark: Benchmark
    runtime: Runtime
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the packages in the sandbox, for the record."""
    gpu_share: float = 1.0
    """How much of a GPU's memory a candidate may have."""

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


def _check_whole(data: Path) -> None:
    if not is_whole(data):
        raise EvaluationError(f"{data} is missing or not whole; the next driver of the run makes it anew")
