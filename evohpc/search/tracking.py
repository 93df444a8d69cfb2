"""Tells other programs of a search as its rounds close (`trackers` of a config); none of their faults reaches it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from evohpc.driver.progress import Progress
from evohpc.messages import SEED_ROUND

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """A program that keeps an account of searches."""

    def has(self, round: int) -> bool:
        """Say whether it was told of a round, by this process or an earlier one."""

    def tell(self, round: int) -> None:
        """Tell it of a round, in place of what it was told of it before."""


class Tracked:
    """Tells an observer, and trackers of each round that has closed, and of one that the end of the search cut off."""

    def __init__(self, observe: Callable[[Progress], None], make: Callable[[], list[Tracker]]) -> None:
        self._observe, self._make = observe, make
        self._trackers: list[Tracker] | None = None
        self._began = self._next = SEED_ROUND

    def __call__(self, progress: Progress) -> None:
        self._observe(progress)
        try:
            self._tell(progress)
        except Exception as error:  # another's code: whatever it raises, a search goes on
            log.warning(
                "trackers: %s; nothing more is told to them until the next start", error or type(error).__name__
            )
            self._trackers = []

    def _tell(self, progress: Progress) -> None:
        if self._trackers is None:
            self._trackers, self._began = self._make(), progress.round
        over = progress.round + (progress.step in ("done", "stopped"))
        for round in range(self._next, over):
            for tracker in self._trackers:
                if round >= self._began or not tracker.has(round):
                    tracker.tell(round)
        self._next = max(self._next, over)
