"""Trains a candidate of a run once more, on its data and in its sandbox, and keeps the model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evohpc.config.search import Config
from evohpc.errors import TaskError
from evohpc.evaluation.curve import Measured
from evohpc.evaluation.worker import evaluator
from evohpc.files import write_atomic
from evohpc.messages import Attempt, Candidate
from evohpc.run_folder import RunDir
from evohpc.tasks.data import prepare, write_private
from evohpc.tasks.program import is_program


@dataclass(frozen=True)
class Retrained:
    """What became of a training."""

    result: Measured
    model: bytes
    """A safetensors file with the names of the model's state dict; empty where it was not trained."""
    is_plain: bool
    """Whether the program's class, made without arguments, can load it; else the task must make the model."""


def retrain(run: RunDir, config: Config, candidate: Candidate, keep_log: Callable[[bytes], None]) -> Retrained:
    """Train a candidate on this machine. With the run's own config, what it is trained and scored on is the same.

    Args:
        config: the run's, or one with another recipe or seed; a seed has data of its own.
        keep_log: is given what the candidate printed, if anything.

    Raises:
        EvaluationError: this host cannot evaluate as the config demands.
        TaskError, TaskCodeError: the task is at fault.
    """
    kept: list[tuple[bytes, bool]] = []
    with tempfile.TemporaryDirectory(prefix="evohpc-run-") as folder:
        own = RunDir(Path(folder))
        for source, copy in ((run.task_file, own.task_file), (run.site, own.site)):
            if source.is_file():
                shutil.copyfile(source, copy)
        if run.secret.is_file():
            write_private(own.secret, run.secret.read_bytes())
        write_atomic(own.config, config.dump())
        prepare(own, run.task_file)
        with evaluator(own) as ready:
            if is_program(ready.task):
                raise TaskError(
                    f"{candidate.id} is a program, not a network: it has no weights to keep; "
                    f"evohpc export {run.path} --best 1 --programs FOLDER writes the best"
                )
            attempt, source_text = Attempt(candidate.id, 1), candidate.source.encode()
            result = ready.evaluate(attempt, source_text, keep_log, lambda model, plain: kept.append((model, plain)))
    model, is_plain = kept[-1] if kept and result.fitness is not None else (b"", False)
    return Retrained(result, model, is_plain)
