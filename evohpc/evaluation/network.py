"""What is done with a candidate that is a network: trained, predicted with, confirmed and scored."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evohpc.evaluation import verdict
from evohpc.evaluation.curve import kept
from evohpc.evaluation.stage import protocol
from evohpc.evaluation.trial import Trial
from evohpc.evaluation.verdict import Predictions
from evohpc.sandbox import removal


def measure(trial: Trial) -> dict[str, Any]:
    """Return the fields of a `Measured` that say how good a network is.

    Raises:
        Failed: the candidate is at fault.
        TaskCodeError: the task is.
    """
    on, task = trial.known.benchmark, trial.known.task
    trained, report = trial.stage("train", "train", {protocol.DATA: on.train})
    num_params, checkpoints = verdict.take_checkpoints(
        trained / protocol.WEIGHTS,
        trial.folder / protocol.WEIGHTS,
        trial.config,
        getattr(task, "checkpoints", None),
    )
    removal.remove(trained)  # Landlock would not keep a later stage from asking for names, sizes and times in there
    first = _predict(trial, "predict", checkpoints, {protocol.DATA: on.inputs})
    best, choice, curve = _choose(trial, first)
    score = trial.score([_confirm(trial, checkpoints[best], first[best])])
    verdict.check_finite(score, choice)
    fitness = verdict.fitness(task, num_params, score.error)
    if trial.keep_model is not None:
        trial.keep_model(*_save(trial, checkpoints[best]))
    reported = {f"reported_{name}": value for name, value in report.last_row.items()}
    metrics = {**reported, **choice, **score.metrics}
    measured = {"num_params": num_params, "error": score.error, "fitness": fitness, "metrics": metrics}
    return {**measured, "curve": kept(curve)}


def _choose(trial: Trial, predictions: list[Predictions]) -> tuple[int, Mapping[str, float], Mapping[float, float]]:
    """Return the index of the best checkpoint, what tells of that choice, and the curve of errors."""
    score = trial.score(predictions)
    if score.checkpoint is not None:
        return score.checkpoint, score.choice, score.curve
    errors = [trial.score([checkpoint]).error for checkpoint in predictions]
    best = int(np.argmin([error if np.isfinite(error) else np.inf for error in errors]))
    return best, score.choice, score.curve or dict(enumerate(errors))


def _confirm(trial: Trial, checkpoint: Path, first: Predictions) -> Predictions:
    """Return what a checkpoint predicts in processes that see no other one."""
    if trial.known.split is None:
        return _predict(trial, "confirm", [checkpoint], {protocol.DATA: trial.known.benchmark.inputs})[0]
    return trial.confirmed(first, lambda name, data, count: _predict(trial, name, [checkpoint], data, count))


def _predict(
    trial: Trial, name: str, checkpoints: list[Path], data: Mapping[str, Path], batches: int = 1
) -> list[Predictions]:
    """Return the predictions of checkpoints, for each of its batches, from a process that sees no others."""
    weights = trial.new_folder("weights")
    for path in checkpoints:
        os.rename(path, weights / path.name)
    files = [protocol.prediction(number, batch) for number in range(len(checkpoints)) for batch in range(batches)]
    predictions = trial.predictions("predict", name, {**data, protocol.WEIGHTS: weights}, files)
    for path in checkpoints:
        os.rename(weights / path.name, path)
    return predictions


def _save(trial: Trial, checkpoint: Path) -> tuple[bytes, bool]:
    """Return a checkpoint as a file with the names, shapes and types of its tensors, see `KeepModel`."""
    weights = trial.new_folder("weights")
    os.rename(checkpoint, weights / checkpoint.name)
    inputs = trial.known.benchmark.inputs
    out, report = trial.stage("save", "save", {protocol.DATA: inputs, protocol.WEIGHTS: weights})
    return verdict.read_model(out / protocol.MODEL, trial.config), report.last_row.get(protocol.PLAIN) == 1
