"""Whether a task's score tells a trained model from useless ones, and refuses what it cannot score."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from evohpc.config.search import Config
from evohpc.doctor.base import Finding, fault, ok, warning
from evohpc.doctor.own_task.rehearsal import Trained
from evohpc.errors import TaskCodeError
from evohpc.evaluation import verdict
from evohpc.evaluation.verdict import Failed, Predictions
from evohpc.tasks.base import Score, Task

_CLEARLY = 0.9
"""Of the threshold: useless predictions are often just below it by chance."""


def examine(task: Task, trained: Trained, labels: Predictions, config: Config) -> Iterator[Finding]:
    """Score a constant, shuffled and random predictions in place of a trained seed's, and some of wrong shapes."""
    useless = {name: _scored(task, made, labels) for name, made in _useless(trained.predictions).items()}
    scores = {name: score for name, score in useless.items() if isinstance(score, Score)}
    for name, answer in useless.items():
        if isinstance(answer, TaskCodeError):
            yield fault("score", f"{answer}, on {name} predictions", "raise ValueError for what cannot be scored")
    if labels:
        yield from _compared(trained, scores, config)
        yield from _direction(task, trained, scores, config)
        yield from _wrong_shapes(task, trained.predictions, labels)
    else:
        yield warning(
            "score",
            "there are no labels, so a candidate's score is what its own process says: it can be forged",
            "score what is predicted by labels that no candidate sees; until then, read the programs that win",
        )
    yield from _fitness(task, trained)


def _useless(real: Predictions) -> dict[str, Predictions]:
    """Return predictions of the same shapes that know nothing of the inputs."""
    rng = np.random.default_rng(0)

    def drawn(array: np.ndarray[Any, Any]) -> Any:
        if not np.issubdtype(array.dtype, np.floating):
            return rng.permuted(array.reshape(-1)).reshape(array.shape)
        return rng.normal(array.mean(), array.std() + 1e-6, array.shape).astype(array.dtype)

    return {
        "constant": {name: np.zeros_like(array) for name, array in real.items()},
        "shuffled": {name: rng.permutation(array) if array.ndim else array for name, array in real.items()},
        "random": {name: drawn(array) for name, array in real.items()},
    }


def _scored(task: Task, predictions: Predictions, labels: Predictions) -> Score | Failed | TaskCodeError:
    try:
        return verdict.score(task, [predictions], labels)
    except (Failed, TaskCodeError) as error:
        return error


def _compared(trained: Trained, scores: dict[str, Score], config: Config) -> Iterator[Finding]:
    finite = {name: score.error for name, score in scores.items() if math.isfinite(score.error)}
    shown = ", ".join(f"{name} {error:.4g}" for name, error in finite.items()) or "none can be scored"
    better = [name for name, error in finite.items() if error <= trained.error]
    low = [name for name, error in finite.items() if error < _CLEARLY * config.search.error_threshold]
    found = f"{trained.seed.id} has error {trained.error:.4g}; without a look at the inputs: {shown}"
    if better:
        yield fault("score", found, f"{better[0]} predictions are no worse than a trained model: is less error better?")
    elif low:
        yield warning("score", found, f"set search.error_threshold below the error of {low[0]} predictions")
    else:
        yield ok("score", found)


def _direction(task: Task, trained: Trained, scores: dict[str, Score], config: Config) -> Iterator[Finding]:
    """The metric that prompts show must get better where the error does."""
    metric, is_higher_better = task.interface.metric, config.prompt.metric_factor >= 1
    own = trained.result.metrics[metric]
    worse = [score.metrics[metric] for score in scores.values() if score.error > trained.error]
    wrong = [value for value in worse if (value > own if is_higher_better else value < own)]
    if worse and len(wrong) == len(worse):
        right = "0.98" if is_higher_better else "1.02"
        yield fault(
            "metric",
            f"{metric} is {own:.4g} of the trained seed and {wrong[0]:.4g} of a useless model, and prompts ask for "
            f"{'more' if is_higher_better else 'less'}",
            f"set prompt.metric_factor: {right}, or turn the metric round",
        )


def _wrong_shapes(task: Task, real: Predictions, labels: Predictions) -> Iterator[Finding]:
    accepted = []
    for name, array in real.items():
        wrong = {
            f"{name!r} missing": {key: other for key, other in real.items() if key != name},
            f"{name!r} of one sample less": {**real, name: array[:-1] if array.ndim else array.reshape(1, 1)},
            f"{name!r} with one more axis": {**real, name: array[..., None]},
        }
        for what, predictions in wrong.items():
            answer = _scored(task, predictions, labels)
            if isinstance(answer, TaskCodeError):
                yield fault("score", f"{answer}, with {what}", "check names and shapes first, and raise ValueError")
                return
            accepted += [what] if isinstance(answer, Score) else []
    if accepted:
        yield fault("score", f"it accepts predictions with {accepted[0]}", "check shapes, and raise ValueError")
    else:
        yield ok("shapes", "score refuses predictions that lack a part or have another shape")


def _fitness(task: Task, trained: Trained) -> Iterator[Finding]:
    size, error = trained.result.num_params or 1, trained.error
    try:
        own, worse = verdict.fitness(task, size, error), verdict.fitness(task, size, 2 * error + 0.01)
        verdict.fitness(task, 1, 0.0)
    except TaskCodeError as problem:
        yield fault("fitness", str(problem), "return a finite number for any size from 1 and any error from 0 up")
        return
    if worse > own:
        yield fault(
            "fitness", f"{own:.4g}, and {worse:.4g} for twice the error: higher is better", "let it fall with the error"
        )
