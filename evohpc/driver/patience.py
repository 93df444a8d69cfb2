"""How long a driver goes on trying while the file system refuses."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

RETRY_EVERY_S = 30.0


@dataclass
class Patience:
    """Counts the seconds lost to refusals since the search last moved on.

    Not the time since the first refusal: two short ones with hours of training between them are no long one. Nor does
    a try that took long count as a success: SQLite alone waits a minute for a lock before it refuses.
    """

    limit_s: float
    _lost_s: float = field(default=0.0, init=False)
    _well_at: float = field(default_factory=time.monotonic, init=False)

    @property
    def is_over(self) -> bool:
        """Whether refusals have cost as much time as they may."""
        return self._lost_s >= self.limit_s

    def outlast(self, refusal: Exception, wait: Callable[[float], object]) -> None:
        """Wait for a file system that has refused.

        Raises:
            Exception: the refusal itself, if they have cost as much time as they may.
        """
        self.note_lost()
        if self.is_over:
            raise refusal
        log.warning("%s; trying again in %.0f s", refusal, RETRY_EVERY_S)
        wait(RETRY_EVERY_S)
        self.note_lost()

    def note_well(self) -> None:
        """Nothing refuses now: the time until the next refusal is not lost from before this."""
        self._well_at = time.monotonic()

    def note_lost(self) -> None:
        """The time since it was last well is lost."""
        now = time.monotonic()
        self._lost_s, self._well_at = self._lost_s + now - self._well_at, now

    def note_progress(self) -> None:
        """The search moved on: a round was opened or closed, a completion drawn or a result entered."""
        self._lost_s, self._well_at = 0.0, time.monotonic()
