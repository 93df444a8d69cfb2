"""The containers of candidates that follow each other: that of the one that runs, and one that starts for the next.

They have nothing in common but what every container has of the host: file systems, processes, memory and network are a
container's own, and a candidate's program comes into one only when its turn has come.
"""

from __future__ import annotations

import logging
import os
from typing import Literal

from evohpc.errors import EvaluationError
from evohpc.sandbox.apptainer_warm import Recipe, WarmContainer

log = logging.getLogger(__name__)


class Succession:
    """At most two containers: one in use, and one that starts, or waits, for the candidate after."""

    def __init__(self, recipe: Recipe, ready: WarmContainer) -> None:
        """`ready` has started, for the first candidate."""
        self._recipe = recipe
        self._in_use: WarmContainer | None = ready
        self._waiting: WarmContainer | None = None
        self._is_followed = False

    def expect_another(self) -> None:
        """Know that a candidate follows the one that is about to run."""
        self._is_followed = self._recipe.ahead

    def container(self) -> WarmContainer:
        """Return the candidate's container, started; the next one starts no sooner, as both would only take longer.

        Raises:
            EvaluationError: it does not start.
        """
        if self._in_use is None:
            self._in_use = self._waited_for() or WarmContainer(self._recipe)
        self._in_use.wait()
        if self._is_followed and self._waiting is None:
            self._waiting = WarmContainer(self._recipe)
        return self._in_use

    def end_candidate(self) -> None:
        """End its container, not the one that waits."""
        container, self._in_use, self._is_followed = self._in_use, None, False
        if container is not None:
            container.close()

    def close(self) -> None:
        """End both."""
        try:
            self.end_candidate()
        finally:
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting.close()

    def _waited_for(self) -> WarmContainer | None:
        """Return the container that waits, started; None if there is none, or none any more: the kernel may have ended
        it for want of memory that the candidate before had taken, which is no fault of the next one's."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return None
        try:
            waiting.wait()
        except EvaluationError as error:
            log.warning("the container that waited for the next candidate is replaced: %s", error)
        else:
            if waiting.is_alive:
                return waiting
        waiting.close()
        return None


def starts_ahead(wanted: bool | Literal["auto"]) -> bool:
    """Say whether containers are to be started while the candidate before runs; by itself where this process may use
    more than one core, as on a single one that candidate would only be slower."""
    return _cores() > 1 if wanted == "auto" else wanted


def _cores() -> int:
    """Return the cores of this process: of its Slurm job, if not all that it may run on are."""
    seen, granted = len(os.sched_getaffinity(0)), os.environ.get("SLURM_CPUS_ON_NODE", "")
    return min(seen, int(granted)) if granted.isdigit() else seen
