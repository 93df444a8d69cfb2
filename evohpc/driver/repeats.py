"""The outcome of a candidate that was trained with several seeds (`evaluation.repeats`). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev

from evohpc.messages import Result

TRAININGS = "trainings"
"""The metric that says over how many trainings the others are means."""


def mean(trained: Sequence[Result]) -> Result:
    """Return one result for two or more: means of error, fitness and metrics, the standard deviations of the first two
    (of a sample, n - 1) as metrics. The largest size and the weakest isolation count. Its time is that of no training.

    Args:
        trained: what the trainings of one candidate by the whole recipe measured, in order of attempt.
    """
    last = trained[-1]
    errors = [result.error or 0.0 for result in trained]
    fitness = [result.fitness or 0.0 for result in trained]
    common = [name for name in last.metrics if all(name in result.metrics for result in trained)]
    metrics = {name: fmean(result.metrics[name] for result in trained) for name in common}
    spread = {"error_sd": stdev(errors), "fitness_sd": stdev(fitness), TRAININGS: float(len(trained))}
    return replace(
        last,
        attempt=last.attempt + 1,
        num_params=max(result.num_params or 0 for result in trained),
        error=fmean(errors),
        fitness=fmean(fitness),
        metrics={**metrics, **spread},
        seconds={},
        isolation=min((result.isolation for result in trained), key=lambda isolation: isolation.rank),
        host="",
    )
