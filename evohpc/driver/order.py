"""In which order candidates are handed out: those first that are expected to train longest. Pure.

One that takes long and begins last has all nodes but its own wait. Known is what a candidate's own training at the rung
before cost; without rungs the order is that of the ids, as what its parents took says next to nothing of a child. The
order changes nothing but how long a round takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evohpc.messages import Attempt, Result, Status


def longest_first(attempts: Sequence[Attempt], attempted: Mapping[str, Sequence[Result]]) -> list[Attempt]:
    """Return attempts in the order in which they are to begin; those of which nothing is known last, as they are.

    Args:
        attempted: all results of candidates that wait for a final one, by candidate, in order of attempt.
    """
    return sorted(attempts, key=lambda attempt: -_expected(attempted.get(attempt.candidate_id, ())))


def _expected(results: Sequence[Result]) -> float:
    """Return the seconds of the last training; of the processor where they are known, which load hardly changes."""
    seconds = next((r.seconds for r in reversed(results) if r.status is Status.TRAINED), {})
    return seconds.get("cpu", seconds.get("total", 0.0))
