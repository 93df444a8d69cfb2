"""One batch of a program's training, in its sandbox: what the doctor asks of a seed. Nothing is kept of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from evohpc import envelopes
from evohpc.evaluation import verdict
from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.benchmark import WORKER, limits, moved
from evohpc.evaluation.stage import protocol
from evohpc.evaluation.stage.protocol import Order
from evohpc.sandbox.base import Stage


def try_first_batch(evaluator: Evaluator, source: str) -> float:
    """Build a program's model and pass one batch through it, forwards and backwards; return the seconds that it took.

    Raises:
        Failed: the program does not get that far.
        EvaluationError: the sandbox failed.
    """
    on = evaluator.benchmark
    order = Order("check", moved(on.task), dict(on.task_options), on.seed, on.config.threads, on.config.max_params)
    with tempfile.TemporaryDirectory(prefix="evohpc-", ignore_cleanup_errors=True) as folder:
        candidate, out = Path(folder) / protocol.CANDIDATE, Path(folder) / "out"
        candidate.write_text(source, encoding="utf-8")
        out.mkdir()
        own = {} if on.task.file is None else {protocol.TASK_FILE: on.task.file}
        inputs = {protocol.DATA: on.train, protocol.CANDIDATE: candidate, **own}
        allowed = limits(on.config, on.config.time_limit_s)
        outcome = evaluator.runtime.run(
            Stage(WORKER, envelopes.encode(order).encode(), inputs, out, allowed, on.config.threads)
        )
        verdict.check_ending("train", outcome, on.config)
        verdict.check_report("train", out)
    return outcome.seconds
