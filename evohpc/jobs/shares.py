"""Deals out what a process has, its cores and its GPUs, to workers that evaluate candidates at the same time. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

_LAST = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""They choose among what ROCR_VISIBLE_DEVICES leaves: where one of them is set, that one is left as it is."""
_FIRST = ("ROCR_VISIBLE_DEVICES",)


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several workers may use."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that name its GPU; none where its parent was given no GPU."""
    gpu: float = 1.0
    """How much of that GPU's memory."""
    cores: tuple[int, ...] = ()
    """Their numbers, as sched_setaffinity(2) has them; () are all that its parent has."""


WHOLE = Share()


def deal(environment: Mapping[str, str], cores: Iterable[int], count: int) -> list[Share]:
    """Return the shares of so many workers: each has one GPU, the first the first, and an equal number of cores.

    Args:
        environment: of the process that starts them; Slurm names a job's GPUs there.
        cores: that it may run on. If they are fewer than the workers, all have all of them.
    """
    gpus = {name: value.split(",") for name in _LAST + _FIRST if (value := environment.get(name, ""))}
    chosen = {name: gpus[name] for name in _LAST if name in gpus} or gpus
    dealt = _blocks(sorted(cores), count)
    return [
        Share(
            environment={name: names[place % len(names)] for name, names in chosen.items()},
            gpu=1 / math.ceil(count / min(map(len, chosen.values()))) if chosen else 1.0,
            cores=tuple(dealt[place]),
        )
        for place in range(count)
    ]


def _blocks(cores: Sequence[int], count: int) -> list[Sequence[int]]:
    """Cut cores into neighbours, which share caches and memory."""
    each = len(cores) // count
    return [cores[place * each : (place + 1) * each] for place in range(count)]
