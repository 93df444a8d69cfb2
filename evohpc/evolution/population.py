"""Who becomes a parent, whose code goes into which prompt, at what temperature, from which seed. Pure.

Randomness is counter-based: each choice has its own generator, keyed by the search's seed and the place of the choice.
There is no generator state to save, and what was drawn for round 3, prompt 7 never depends on what ran before.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TypeVar

import numpy as np

from evohpc.config.search import SearchConfig
from evohpc.messages import Sample

T = TypeVar("T")


class Draw(IntEnum):
    """The kinds of random choice; part of the key of each one's generator. Values never change."""

    PARENTS = 0
    EXAMPLES = 1
    SAMPLE = 2
    TUNING = 3
    SCRIPT = 4


def generator(seed: int, round: int, draw: Draw, *place: int) -> np.random.Generator:
    """Return the generator of one choice. `round` may be SEED_ROUND (-1)."""
    key = (round + 1, int(draw), *place)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))


def examples(parents: Sequence[T], config: SearchConfig, round: int, prompt: int) -> list[T]:
    """Draw the k in-context examples of a prompt, independently and with replacement (Algorithm 2)."""
    rng = generator(config.seed, round, Draw.EXAMPLES, prompt)
    return [parents[i] for i in rng.integers(len(parents), size=config.examples_per_prompt)]


def samples(config: SearchConfig, round: int, prompt: int, count: int) -> tuple[Sample, ...]:
    """Return temperature and seed of each completion of a prompt."""
    drawn = []
    for index in range(count):
        rng = generator(config.seed, round, Draw.SAMPLE, prompt, index)
        temperature = config.temperatures[int(rng.integers(len(config.temperatures)))]
        drawn.append(Sample(index=index, seed=int(rng.integers(2**63)), temperature=temperature))
    return tuple(drawn)


def random_ranks(config: SearchConfig, round: int, pool_size: int) -> list[int]:
    """Draw who becomes a parent in the `random_parents` variant: distinct places in a pool of that size."""
    rng = generator(config.seed, round, Draw.PARENTS)
    count = min(config.survivors, pool_size)
    return sorted(int(i) for i in rng.choice(pool_size, size=count, replace=False))


def tuning_seed(config: SearchConfig, round: int) -> int:
    """Return the seed of a round's prompt-tuning: initialisation and order of the examples."""
    return int(generator(config.seed, round, Draw.TUNING).integers(2**63))
