from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evohpc.config.search import Config
from evohpc.doctor.own_task import scoring
from evohpc.doctor.own_task.rehearsal import Trained
from evohpc.evolution.screening import seeds
from evohpc.messages import Result, Status, TaskInterface
from evohpc.tasks.base import Score

TRUTH = np.random.default_rng(1).normal(size=50)
LABELS = {"y": TRUTH}
INTERFACE = TaskInterface("t", "Model", "class Model:", "", (), "quality")


def mean_square(prediction: np.ndarray[Any, Any]) -> float:
    if prediction.shape != TRUTH.shape:
        raise ValueError("'y' must be (50,)")
    return float(((prediction - TRUTH) ** 2).mean())


def honest(predictions: Any, labels: Any) -> Score:
    if "y" not in predictions[0]:
        raise ValueError("'y' is missing")
    error = mean_square(predictions[0]["y"])
    return Score(error, {"quality": -error})


class Told:
    """A task with the score and the fitness that it is told."""

    interface = INTERFACE

    def __init__(self, score: Callable[..., Any], fitness: Callable[..., Any]) -> None:
        self.score, self.fitness = score, fitness


def found(score: Callable[..., Any] = honest, fitness: Callable[..., Any] = lambda n, e: -n * e, **search: Any) -> Any:
    task: Any = Told(score, fitness)
    config = Config(seeds=Path("s"), lm={"engine": "scripted"}, search=search)
    real = {"y": TRUTH + 0.1}
    own = score([real], LABELS)
    result = Result("seed-a", 1, Status.TRAINED, num_params=9, error=own.error, metrics=own.metrics)
    (seed,) = seeds({"a": "class Model:\n    def f(self): ...\n"}, INTERFACE, config.screening)
    trained = Trained(seed, result, 1.0, 60.0, 0, [([real], own)], "")
    return {f.check: f"{f.verdict}: {f.found} -> {f.advice}" for f in scoring.examine(task, trained, LABELS, config)}


def test_a_sound_score_tells_a_trained_model_from_useless_ones() -> None:
    answer = found()
    assert answer["score"].startswith("ok: seed-a has error 0.01; without a look at the inputs: constant ")
    assert answer["shapes"].startswith("ok: ")
    assert answer.keys() == {"score", "shapes"}


def upside_down(predictions: Any, labels: Any) -> Score:
    error = honest(predictions, labels).error
    return Score(1 / (1 + error), {"quality": error})


def forgets_shapes(predictions: Any, labels: Any) -> Score:
    error = float(np.resize(predictions[0].get("y", TRUTH), 50).mean() ** 2) + 1
    return Score(error, {"quality": -error})


def stumbles(predictions: Any, labels: Any) -> Score:
    error = float(np.abs(predictions[0]["y"]).mean() + predictions[0]["y"][49]) ** 2 + 1
    return Score(error, {"quality": -error})


def wrong_metric(predictions: Any, labels: Any) -> Score:
    error = honest(predictions, labels).error
    return Score(error, {"quality": error})


@pytest.mark.parametrize(
    ("score", "check", "said"),
    [
        (upside_down, "score", "predictions are no worse than a trained model: is less error better?"),
        (forgets_shapes, "score", "it accepts predictions with 'y' missing"),
        (stumbles, "score", "score raised KeyError: 'y' ("),
        (wrong_metric, "metric", "and prompts ask for more -> set prompt.metric_factor: 0.98"),
    ],
)
def test_a_score_that_misleads_a_search_is_found(score: Any, check: str, said: str) -> None:
    answer = found(score)[check]
    assert answer.startswith("fault: ")
    assert said in answer


def test_a_threshold_that_lets_useless_models_pass_is_told() -> None:
    assert found(error_threshold=3.0)["score"].startswith("warning: ")


@pytest.mark.parametrize(
    ("fitness", "said"),
    [
        (lambda n, e: e, "for twice the error: higher is better -> let it fall with the error"),
        (lambda n, e: -n / e, "fitness(1, 0.0) raised ZeroDivisionError"),
    ],
)
def test_a_fitness_that_misleads_a_search_is_found(fitness: Any, said: str) -> None:
    answer = found(fitness=fitness)["fitness"]
    assert answer.startswith("fault: ")
    assert said in answer
