"""What a driver tells of how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evohpc.messages import Status
from evohpc.store.rows import Entry

Step = Literal["propose", "load", "tune", "generate", "screen", "evaluate", "close", "done", "stopped"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search is; given to the observer at every change."""

    round: int
    """SEED_ROUND while the seeds are evaluated."""
    rounds: int
    step: Step
    done: int
    """Steps in `tune`, completions drawn in `generate`, final candidates in `evaluate`."""
    total: int
    counts: Mapping[Status, int]
    """Children of this round by outcome."""
    best: Entry | None
    held: tuple[str, ...] = ()
    """Why jobs wait for a person."""
    late: tuple[int, ...] = ()
    """Closed rounds of whose candidates some are at work (`search.close_at`)."""
