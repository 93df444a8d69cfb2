"""Tells other programs of a search as its rounds close (`trackers` of a config); none of their faults reaches it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from evohpc.driver.progress import Progress
from evohpc.messages import SEED_ROUND

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """A program that keeps an account of searches."""

    def has(self, round: int) -> bool:
        """Say whether it was told of a round, by this process or an earlier one."""

    def tell(self, rounds: Sequence[int]) -> None:
        """Tell it of rounds, the earliest first, in place of what it was told of them before."""


class Tracked:
    """Tells an observer, and trackers of each round that has closed and whose outcomes are all known, and of those that
    the end of the search cut off."""

    def __init__(self, observe: Callable[[Progress], None], make: Mapping[str, Callable[[], Tracker]]) -> None:
        """Tell nothing yet.

        Args:
            make: a tracker by the name that users know it by.
        """
        self._observe, self._make = observe, make
        self._trackers: dict[str, Tracker] | None = None
        self._began = self._next = SEED_ROUND

    def __call__(self, progress: Progress) -> None:
        self._observe(progress)
        if self._trackers is None:
            self._began, self._trackers = progress.round, {}
            for name, make in self._make.items():
                with self._warning(name):
                    self._trackers[name] = make()
        ends = progress.step in ("done", "stopped")
        over = progress.round + 1 if ends else min([progress.round, *progress.late])
        for name, tracker in list(self._trackers.items()):
            with self._warning(name):
                self._tell(tracker, over)
        self._next = max(self._next, over)

    def _tell(self, tracker: Tracker, over: int) -> None:
        if rounds := [round for round in range(self._next, over) if round >= self._began or not tracker.has(round)]:
            tracker.tell(rounds)

    @contextmanager
    def _warning(self, name: str) -> Iterator[None]:
        """Make a warning of a tracker's fault, and tell it nothing more: its code is another's, whatever it raises."""
        try:
            yield
        except Exception as error:
            why = str(error) or type(error).__name__
            log.warning("trackers: %s: %s; nothing more is told to it until the next start", name, why)
            assert self._trackers is not None
            self._trackers.pop(name, None)
