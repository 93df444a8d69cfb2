"""One runner for several rounds at work (`search.close_at`).

A runner takes what it is not asked about for done: it hands over no more of it, and asks no scheduler for it. So it is
asked about all rounds at once, whichever of them wants to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evohpc.jobs.base import ArrayRunner
from evohpc.messages import EvaluationJob, TaskReport


@dataclass
class SharedRunner:
    """An `ArrayRunner` for each round."""

    runner: ArrayRunner
    _asked: dict[int, Mapping[str, int]] = field(default_factory=dict, init=False)
    """What each round asked about last."""

    def of(self, round: int) -> ArrayRunner:
        """Return that of a round."""
        return _Share(self, round)

    def poll(self, round: int, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        """Return what one round asks about. See `ArrayRunner.poll`."""
        self._asked[round] = sizes
        reports = self.runner.poll({name: size for asked in self._asked.values() for name, size in asked.items()})
        return {name: reports[name] for name in sizes}

    def forget(self, round: int) -> None:
        """Ask about a round no more: it has all its results."""
        self._asked.pop(round, None)


@dataclass(frozen=True)
class _Share:
    shared: SharedRunner
    round: int

    def submit(self, job: EvaluationJob) -> None:
        self.shared.runner.submit(job)

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        return self.shared.poll(self.round, sizes)
