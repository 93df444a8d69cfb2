"""Parents and target metrics to prompt text (paper, section 3 and Listing 1). Pure.

A prompt is k programs under docstrings of their measured metrics, then the metrics that the LM is asked for, then the
header of the entry (a class, or a function), which the LM completes:

    \"""Metrics:
    {'num_params': '4800', 'val_accuracy': '0.865'}
    \"""
    class Model(nn.Module):
        ...

    \"""Metrics:
    {'num_params': '4300', 'val_accuracy': '0.882'}
    \"""
    class Model(nn.Module):
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import TypeVar

from evohpc.config.prompt import PromptConfig
from evohpc.config.search import SearchConfig
from evohpc.evolution import entry
from evohpc.evolution.randomness import Draw, generator
from evohpc.messages import TaskInterface

T = TypeVar("T")
_DECIMALS = 3
"""Of a metric: tenths of a percent."""
_LARGE = 1e9
_LARGEST = sys.float_info.max
_DIGITS = Context(prec=400)
"""More than any float or size has before the point; Python's own 28 are fewer than 1e26 with decimals."""


@dataclass(frozen=True, slots=True)
class Example:
    """A scored program as a prompt shows it."""

    candidate_id: str
    source: str
    """The whole module; only the entry is shown."""
    num_params: int
    metric: float
    """The task's `TaskInterface.metric`."""


def draw_examples(parents: Sequence[T], search: SearchConfig, round: int, prompt: int) -> list[T]:
    """Return E, the in-context examples of a prompt.

    Algorithm 2: x_j iid ~ Uniform(P) for j = 1..k, with replacement. `search.operator` names what else there is.
    """
    rng = generator(search.seed, round, Draw.EXAMPLES, prompt)
    is_mutation = is_rescaled(search, round, prompt) or search.operator == "mutation"
    if search.operator == "paper" and not is_mutation:
        return [parents[i] for i in rng.integers(len(parents), size=search.examples_per_prompt)]
    is_mutation = is_mutation or (search.operator == "mixed" and rng.random() < 0.5)
    count = 1 if is_mutation else min(search.examples_per_prompt, len(parents))
    return [parents[i] for i in rng.choice(len(parents), size=count, replace=False)]


def is_rescaled(search: SearchConfig, round: int, prompt: int) -> bool:
    """Say whether a prompt is answered by a rule (`search.rescale`)."""
    return float(generator(search.seed, round, Draw.RESCALING, prompt).random()) < search.rescale


def with_size_factor(config: PromptConfig, search: SearchConfig, round: int, prompt: int) -> PromptConfig:
    """Return what holds for one prompt, whose `size_factor` is drawn if there are several."""
    if not config.size_factors:
        return config
    drawn = generator(search.seed, round, Draw.SIZE_FACTOR, prompt).integers(len(config.size_factors))
    return config.model_copy(update={"size_factor": config.size_factors[int(drawn)]})


def few_shot_prompt(
    examples: Sequence[Example], parents: Sequence[Example], task: TaskInterface, config: PromptConfig
) -> str:
    """Return the prompt for k in-context examples; `parents` are all of P, for `targets_from: all_parents`."""
    shown = [f"{_metrics(e.num_params, e.metric, task, config)}\n{entry.code(e.source, task)}\n" for e in examples]
    return config.preamble + "\n".join([*shown, asked_for(examples, parents, task, config)])


def asked_for(
    examples: Sequence[Example], parents: Sequence[Example], task: TaskInterface, config: PromptConfig
) -> str:
    """Return the end of a prompt, which the LM goes on with: the metrics asked for and the header."""
    target = target_metrics(examples if config.targets_from == "prompt_parents" else parents, task, config)
    return f"{target}\n{task.header}\n"


def target_metrics(parents: Sequence[Example], task: TaskInterface, config: PromptConfig) -> str:
    """Return the docstring of the metrics asked for: smaller than the smallest, better than the best parent.

    Section 3: "target model size as 90% of the minimum model size of the parent models, rounded to the nearest 100
    parameters, and the target validation accuracy as 102% of the maximum validation accuracy of the parent models,
    rounded to the nearest tenth of a percent".

    That is for accuracies. For a metric of any sign and scale, the target is better than the best by the same share of
    its magnitude, 2 %: -0.490 after -0.500; after 0 it is one step of the rounding. With `metric_factor` below 1, lower
    is better: 0.98 asks for 0.490 after an error of 0.500.
    """
    smallest = min(parent.num_params for parent in parents)
    metrics = [parent.metric for parent in parents]
    best = max(metrics) if config.metric_factor >= 1 else min(metrics)
    target = _better(best, config.metric_factor)
    if config.metric_cap is not None:
        target = min(target, config.metric_cap)
    return _docstring(_target_size(smallest, config), target, task, config)


def completion_target(example: Example, task: TaskInterface, config: PromptConfig) -> tuple[str, str]:
    """Return (prompt, completion) of a prompt-tuning example: a child under its own measured metrics.

    The paper does not state the format; this is the smallest piece of a few-shot prompt that holds one program.
    """
    header, newline, body = entry.code(example.source, task).partition("\n")
    prompt = f"{_metrics(example.num_params, example.metric, task, config)}\n{header}{newline}"
    return config.preamble + prompt, f"{body}\n"


def candidate_source(completion: str, task: TaskInterface) -> str:
    """Return the whole module of a completion: the task's imports, the header, and what the LM wrote."""
    return f"{task.prelude.rstrip()}\n\n\n{task.header}\n{completion.lstrip(chr(10)).rstrip()}\n"


def _metrics(num_params: int, metric: float, task: TaskInterface, config: PromptConfig) -> str:
    return _docstring(_rounded_size(num_params, config), metric, task, config)


def _docstring(size: int, metric: float, task: TaskInterface, config: PromptConfig) -> str:
    values = {task.size_name: str(size), task.metric: _shown(metric, abs(config.metric_factor - 1))}
    return f'"""Metrics:\n{values}\n"""'


def _target_size(smallest: int, config: PromptConfig) -> int:
    size = _rounded_size(config.size_factor * smallest, config)
    if config.size_rounding is None and config.size_factor < 1:
        return max(1, min(size, smallest - 1))  # 90 % of 5 is 5, rounded
    return size


def _rounded_size(size: float, config: PromptConfig) -> int:
    """Round to the config's unit, or to the largest power of ten, at most 100, that the target's step is not below."""
    step = size * min(0.1, abs(config.size_factor - 1))
    unit = config.size_rounding or 10 ** max(0, min(2, _exponent(Decimal(repr(step)))))
    return int(_round(Decimal(repr(size)) / unit, 0)) * unit


def _better(best: float, factor: float) -> float:
    """Return what is better than `best` by the share of it that `factor` is away from 1: more, if that is above 1."""
    if best == 0:
        return math.copysign(10**-_DECIMALS, factor - 1) if factor != 1 else best
    target = factor * best if best > 0 else best - (factor - 1) * best
    if target == best != 0 and factor != 1:  # a step below what floating-point numbers tell apart
        target = math.nextafter(best, math.copysign(math.inf, factor - 1))
    return max(-_LARGEST, min(target, _LARGEST))


def _shown(value: float, share: float) -> str:
    """Return a metric rounded to the nearest tenth of a percent, or finer where that would hide a step of this share.

    Numbers that would take more than a few digits are written with an exponent.
    """
    needed = -_exponent(Decimal(repr(value)) * Decimal(repr(share)))
    if abs(value) >= _LARGE or needed > 2 * _DECIMALS:
        return f"{Decimal(repr(value)):.{max(_DECIMALS, 1 - _exponent(Decimal(repr(share))))}e}"
    return str(_round(Decimal(repr(value)), max(_DECIMALS, needed)))


def _exponent(value: Decimal) -> int:
    """Return the exponent of the largest power of ten that is not above a number; 0 for none."""
    return value.adjusted() if value else 0


def _round(value: Decimal, decimals: int) -> Decimal:
    # Python's round() is to even: 0.5 would become 0.
    return value.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP, context=_DIGITS)
