"""What the language model is doing for a round, and how far it is with it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from evohpc.lm_job import times
from evohpc.lm_job.base import progress
from evohpc.run_folder import RoundDir, read_request

_STEP = re.compile(rb"tuning: step (\d+) of (\d+)")
_END = 4096
"""Bytes of the log's end that are looked at."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What it is doing."""

    step: Literal["load", "tune", "generate"]
    """`load`: it waits in a queue, starts, or reads the model."""
    done: int
    """Steps of the tuning, or completions drawn."""
    total: int


def phase(round: RoundDir) -> Phase:
    """Return what the language model is doing, from what it has written.

    Raises:
        RunFolderError: the round's request cannot be read.
    """
    drawn, total = progress(round)
    was_done = {span.doing for span in times.spans(round)}
    if drawn or "drawing" in was_done:
        return Phase("generate", drawn, total)
    if "loading" not in was_done:
        return Phase("load", 0, 1)
    if read_request(round).tuning is not None and not round.tuning.exists():
        return Phase("tune", *_tuned(round))
    return Phase("generate", drawn, total)


def _tuned(round: RoundDir) -> tuple[int, int]:
    """Return how many steps of the tuning are done, and of how many, as the log says it."""
    with suppress(OSError), round.lm_log.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _END))
        if found := _STEP.findall(log.read()):
            return int(found[-1][0]), int(found[-1][1])
    return 0, 1
