"""What the language model's processes of a round spent their time on, as they wrote it down (`evohpc.lm.times`)."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from evohpc.errors import StorageError
from evohpc.files import read_json
from evohpc.run_folder import RoundDir

DOINGS = ("loading", "tuning", "drawing")
"""What a process does, in that order."""


@dataclass(frozen=True, slots=True)
class Span:
    """A while in which the language model was at work."""

    doing: str
    """One of `DOINGS`."""
    seconds: float
    """Wall clock; where several ranks work together, of the first."""
    ended_at: str
    """UTC, ISO 8601; '' where it is not known."""


def spans(round: RoundDir) -> list[Span]:
    """Return what was written down, in that order. Of rounds of evohpc 0.1.0, the tuning alone.

    Raises:
        StorageError: it cannot be read now. Who took that for nothing would spend more than `search.stop` allows.
    """
    try:
        lines = round.lm_times.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return _tuning_of_0_1(round)
    except OSError as error:
        raise StorageError(f"cannot read {round.lm_times}: {error.strerror}; try again when it can be read") from error
    found = map(_span, lines)
    return [span for span in found if span is not None]


def seconds(round: RoundDir) -> dict[str, float]:
    """Return the seconds of each doing that there was."""
    found: dict[str, float] = {}
    for span in spans(round):
        found[span.doing] = found.get(span.doing, 0.0) + span.seconds
    return found


def _span(line: str) -> Span | None:
    with suppress(ValueError, TypeError, KeyError):  # torn by a kill or a full disk
        said: dict[str, Any] = json.loads(line)
        if said["doing"] in DOINGS:
            return Span(said["doing"], float(said["seconds"]), str(said["ended_at"]))
    return None


def _tuning_of_0_1(round: RoundDir) -> list[Span]:
    with suppress(OSError, ValueError, TypeError, KeyError):
        return [Span("tuning", float(read_json(round.tuning)["seconds"]), "")]
    return []
