"""What the language model's processes of a round spent their time on, as they wrote it down."""

from __future__ import annotations

import json
from contextlib import suppress

from evohpc.run_folder import RoundDir

DOINGS = ("loading", "tuning", "drawing")
"""What a process does, in that order."""


def seconds(round: RoundDir) -> dict[str, float]:
    """Return the seconds of each of `DOINGS`, summed over the processes; empty where nothing was written down.

    Wall clock; where several ranks work together, that of the first.
    """
    found: dict[str, float] = {}
    with suppress(OSError):
        for line in round.lm_times.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, TypeError, AttributeError):  # torn by a full disk
                for name, value in json.loads(line).items():
                    if name in DOINGS:
                        found[name] = found.get(name, 0.0) + float(value)
    return found


def hours(round: RoundDir) -> float:
    """Return the hours of all of it."""
    return sum(seconds(round).values()) / 3600
