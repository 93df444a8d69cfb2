"""Children that need no language model: a parent with one or two of its whole numbers changed. Pure.

Not in the paper. What a model writes well is structure; the widths and kernel sizes in it are tuned more cheaply by a
rule. `search.rescale` says how many prompts of a round are answered so.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from numpy.random import Generator, Philox

FACTORS = (0.5, 0.75, 1.25, 1.5, 2.0)
"""What a number may be multiplied by."""
_INTEGER = re.compile(r"(?<![\w.])(?<!\d[eE][-+])(?<!\.[eE][-+])\d{1,15}(?![\w.])")
"""No exponent of another number, and none that only a runaway comment has."""
_TWO = 0.3
"""How often two numbers are changed."""


def rescaled(body: str, seed: int) -> str:
    """Return the body of a class with one of its whole numbers changed, or two.

    Args:
        body: what follows the class header.
        seed: the same body and seed give the same text.
    """
    rng = Generator(Philox(seed))
    for _ in range(1 + (rng.random() < _TWO)):
        body = with_one_changed(body, rng, _changed)
    return body


def with_one_changed(body: str, rng: Generator, change: Callable[[int, float], int]) -> str:
    """Return a body with one of its whole numbers, if it has any, replaced by `change` of it and a factor."""
    numbers = list(_INTEGER.finditer(body))
    if not numbers:
        return body
    found = numbers[rng.integers(len(numbers))]
    changed = change(int(found.group()), FACTORS[rng.integers(len(FACTORS))])
    return f"{body[: found.start()]}{changed}{body[found.end() :]}"


def _changed(number: int, factor: float) -> int:
    """Return about `factor` times a number; another one in any case, but that 1 does not become 0."""
    scaled = round(number * factor)
    if scaled == number or scaled == 0:
        scaled = number + 1 if factor > 1 else max(number - 1, min(number, 1))
    return scaled
