"""A generator for each random choice of a search.

Randomness is counter-based: each choice has its own generator, keyed by the search's seed and the position of the
choice. There is no generator state to save, and what is drawn for round 3, prompt 7 never depends on what ran before.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class Draw(IntEnum):
    """The kinds of random choice; part of the key of each one's generator. Values never change."""

    PARENTS = 0
    EXAMPLES = 1
    SAMPLE = 2
    TUNING = 3
    RESCALING = 4
    SIZE_FACTOR = 5
    HALF = 6
    REPAIR = 7
    REPAIRED = 8


def generator(seed: int, round: int, draw: Draw, *position: int) -> np.random.Generator:
    """Return the generator of one choice.

    Args:
        seed: that of the search.
        round: may be SEED_ROUND (-1).
        position: of the choice in its round, e.g. the numbers of its prompt and of its sample.
    """
    import numpy as np  # takes a tenth of a second, and who reads a run draws nothing

    key = (round + 1, int(draw), *position)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))
