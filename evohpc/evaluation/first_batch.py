"""The least that shows that a seed works in its sandbox: a batch of training, or one run. Nothing is kept of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.stage import protocol
from evohpc.evaluation.trial import Trial
from evohpc.tasks.program import is_program


def try_first_batch(evaluator: Evaluator, source: str) -> float:
    """Build a program's model and pass one batch through it, forwards and backwards, or run what is no network; return
    the seconds that it took.

    Raises:
        Failed: the program does not get that far.
        EvaluationError: the sandbox failed.
    """
    on = evaluator.benchmark
    with tempfile.TemporaryDirectory(prefix="evohpc-", ignore_cleanup_errors=True) as folder:
        trial = Trial(evaluator, source.encode(), Path(folder), on.config.time_limit_s)
        if is_program(evaluator.task):
            trial.stage("run", "run", {protocol.DATA: on.inputs})
        else:
            trial.stage("check", "train", {protocol.DATA: on.train})
    return trial.used
