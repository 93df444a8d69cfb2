"""When the language model and the evaluations of each round were at work, by the clock. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from evohpc.messages import SEED_ROUND, Result
from evohpc.report.runs import Run

WAITING, EVALUATING = "waiting", "evaluating"
"""Beside what `evohpc.lm_job.times` names: queues, selection and pauses of the driver; and the time from the first
evaluation of a round to the end of its last one."""


@dataclass
class RoundTime:
    """What a round took, by the clock."""

    round: int
    seconds: dict[str, float] = field(default_factory=dict)


def interval(result: Result) -> tuple[float, float] | None:
    """Return when an evaluation began and ended, in seconds since 1970; None where that was not recorded."""
    total = result.seconds.get("total")
    if not result.finished_at or total is None:
        return None
    end = datetime.fromisoformat(result.finished_at).timestamp()
    return end - total, end


def mean_at_work(run: Run) -> float:
    """Return how many evaluations were at work on average, from the first one's begin to the last one's end."""
    intervals = [at_work for result in run.attempts if (at_work := interval(result)) is not None]
    whole = max(end for _, end in intervals) - min(begin for begin, _ in intervals) if intervals else 0.0
    return sum(end - begin for begin, end in intervals) / whole if whole else 0.0


def lm_intervals(run: Run) -> Iterator[tuple[float, float]]:
    """Yield when the language model was at work, as far as that was recorded."""
    for spans in run.lm_spans.values():
        for span in spans:
            if span.ended_at:
                end = datetime.fromisoformat(span.ended_at).timestamp()
                yield end - span.seconds, end


def round_times(run: Run) -> list[RoundTime]:
    """Return what each round took that has evaluations, the seeds' first.

    A round begins when the last evaluation of the one before has ended.
    """
    round_of = {entry.id: entry.candidate.round for entry in run.entries}
    windows: dict[int, tuple[float, float]] = {}
    for result in run.attempts:
        if (at_work := interval(result)) is not None:
            round = round_of.get(result.candidate_id, SEED_ROUND)
            begin, end = windows.get(round, at_work)
            windows[round] = min(begin, at_work[0]), max(end, at_work[1])
    found: list[RoundTime] = []
    before: float | None = None
    for round, (begin, end) in sorted(windows.items()):
        found.append(RoundTime(round, _seconds(run, round, begin, end, before)))
        before = end
    return found


def _seconds(run: Run, round: int, begin: float, end: float, before: float | None) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for span in run.lm_spans.get(round, ()):
        seconds[span.doing] = seconds.get(span.doing, 0.0) + span.seconds
    if before is not None:
        seconds[WAITING] = max(0.0, begin - before - sum(seconds.values()))
    return {**seconds, EVALUATING: end - begin}
