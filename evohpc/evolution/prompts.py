"""Parents and target metrics to prompt text (paper, section 3 and Listing 1). Pure.

A prompt is k programs under docstrings of their measured metrics, then the metrics that the LM is asked for, then the
class header, which the LM completes:

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

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import TypeVar

from evohpc.config.search import PromptConfig, SearchConfig
from evohpc.evolution.randomness import Draw, generator
from evohpc.messages import TaskInterface

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Example:
    """A scored program as a prompt shows it."""

    candidate_id: str
    source: str
    """The whole module; only the entry class is shown."""
    num_params: int
    metric: float
    """The task's `TaskInterface.metric`."""


def draw_examples(parents: Sequence[T], search: SearchConfig, round: int, prompt: int) -> list[T]:
    """Return E, the in-context examples of a prompt.

    Algorithm 2: x_j iid ~ Uniform(P) for j = 1..k, with replacement. `search.operator` names what else there is.
    """
    rng = generator(search.seed, round, Draw.EXAMPLES, prompt)
    if search.operator == "paper":
        return [parents[i] for i in rng.integers(len(parents), size=search.examples_per_prompt)]
    is_mutation = search.operator == "mutation" or (search.operator == "mixed" and rng.random() < 0.5)
    count = 1 if is_mutation else min(search.examples_per_prompt, len(parents))
    return [parents[i] for i in rng.choice(len(parents), size=count, replace=False)]


def few_shot_prompt(
    examples: Sequence[Example], parents: Sequence[Example], task: TaskInterface, config: PromptConfig
) -> str:
    """Return the prompt for k in-context examples; `parents` are all of P, for `targets_from: all_parents`."""
    shown = [f"{_metrics(e.num_params, e.metric, task, config)}\n{class_code(e.source, task)}\n" for e in examples]
    target = target_metrics(examples if config.targets_from == "prompt_parents" else parents, task, config)
    return config.preamble + "\n".join([*shown, f"{target}\n{task.header}\n"])


def target_metrics(parents: Sequence[Example], task: TaskInterface, config: PromptConfig) -> str:
    """Return the docstring of the metrics asked for: smaller than the smallest, better than the best parent.

    Section 3: "target model size as 90% of the minimum model size of the parent models, rounded to the nearest 100
    parameters, and the target validation accuracy as 102% of the maximum validation accuracy of the parent models,
    rounded to the nearest tenth of a percent".
    """
    size = config.size_factor * min(parent.num_params for parent in parents)
    metric = config.metric_factor * max(parent.metric for parent in parents)
    return _metrics(size, metric if config.metric_cap is None else min(metric, config.metric_cap), task, config)


def completion_target(example: Example, task: TaskInterface, config: PromptConfig) -> tuple[str, str]:
    """Return (prompt, completion) of a prompt-tuning example: a child under its own measured metrics.

    The paper does not state the format; this is the smallest piece of a few-shot prompt that holds one program.
    """
    header, newline, body = class_code(example.source, task).partition("\n")
    prompt = f"{_metrics(example.num_params, example.metric, task, config)}\n{header}{newline}"
    return config.preamble + prompt, f"{body}\n"


def candidate_source(completion: str, task: TaskInterface) -> str:
    """Return the whole module of a completion: the task's imports, the class header, and what the LM wrote."""
    return f"{task.prelude.rstrip()}\n\n\n{task.header}\n{completion.lstrip(chr(10)).rstrip()}\n"


def class_code(source: str, task: TaskInterface) -> str:
    """Return the entry class of a module that parses, from its header on, without what follows it.

    Raises:
        ValueError: the module has no class of that name.
    """
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == task.entry:
            return ast.get_source_segment(source, node) or ""  # str.splitlines() would count more lines than Python
    raise ValueError(f"no class {task.entry}")


def _metrics(num_params: float, metric: float, task: TaskInterface, config: PromptConfig) -> str:
    values = {
        "num_params": str(int(_round(num_params / config.size_rounding, 0)) * config.size_rounding),
        task.metric: str(_round(metric, 3)),
    }
    return f'"""Metrics:\n{values}\n"""'


def _round(value: float, decimals: int) -> Decimal:
    # Python's round() is to even: 0.5 would become 0.
    return Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
