"""Tunings of the tiny language model."""

import torch

from evohpc.lm import tuning as module
from evohpc.messages import Tuning, TuningExample

EXAMPLES = tuple(TuningExample(f"e{i}", "class A:\n", f"    x = {i % 2}\n    y = {i % 3}\n") for i in range(6))


def tuning(**changes) -> Tuning:
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


def tuned(lm, asked: Tuning, start=None, config=None) -> tuple[list[float], torch.Tensor]:
    losses: list[float] = []
    tokens = module.tune(lm, asked, start, config or {}, lambda step: losses.append(step.loss))
    return losses, tokens
