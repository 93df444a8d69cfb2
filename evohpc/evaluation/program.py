"""What is done with a candidate that is no network: run on the inputs, confirmed on halves of them, and scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from evohpc.evaluation import verdict
from evohpc.evaluation.stage import protocol
from evohpc.evaluation.trial import Trial
from evohpc.evaluation.verdict import Predictions
from evohpc.tasks.program import Programs


def measure(trial: Trial) -> dict[str, Any]:
    """Return the fields of a `Result` that say how good a program is.

    Raises:
        Failed: the candidate is at fault.
        TaskCodeError: the task is.
    """

    def run(name: str, data: Mapping[str, Path], batches: int) -> list[Predictions]:
        return trial.predictions("run", name, data, [protocol.prediction(0, batch) for batch in range(batches)])

    outputs = run("run", {protocol.DATA: trial.known.benchmark.inputs}, 1)[0]
    if trial.known.split is not None:
        trial.score([outputs])  # what has a wrong shape is told so before it is cut
        outputs = trial.confirmed(outputs, run)
    score = trial.score([outputs])
    verdict.check_finite(score, score.choice)
    task = trial.known.task
    size = verdict.size(cast(Programs, task), trial.source, trial.processor.cpu_s)
    fitness = verdict.fitness(task, size, score.error)
    return {"num_params": size, "error": score.error, "fitness": fitness, "metrics": {**score.choice, **score.metrics}}
