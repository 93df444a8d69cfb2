"""Tunings of the tiny language model."""

from typing import Any

from evohpc.lm import tuning as module
from evohpc.lm.model import LanguageModel
from evohpc.messages import Tuning, TuningExample

EXAMPLES = tuple(TuningExample(f"e{i}", "class A:\n", f"    x = {i % 2}\n    y = {i % 3}\n") for i in range(6))


def tuning(**changes: Any) -> Tuning:
    values = {
        "examples": EXAMPLES,
        "virtual_tokens": 4,
        "epochs": 4,
        "batch_size": 4,
        "learning_rate": 0.1,
        "seed": 5,
        "start_from": None,
    }
    return Tuning(**{**values, **changes})


def tuned(
    lm: LanguageModel, asked: Tuning, start: Any = None, config: dict[str, object] | None = None
) -> tuple[list[float], Any]:
    losses: list[float] = []
    tokens = module.tune(lm, asked, start, config or {}, lambda step: losses.append(step.loss))
    return losses, tokens
