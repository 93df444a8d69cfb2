"""The evaluations of one round: hands out what is due, enters what has arrived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from evohpc.driver import seeds
from evohpc.driver.dispatch import Dispatch, next_attempts
from evohpc.driver.intake import Intake
from evohpc.driver.order import longest_first
from evohpc.driver.rungs import Rungs
from evohpc.driver.stopper import Stopper
from evohpc.jobs.base import ArrayRunner


@dataclass
class Evaluating:
    """Has the children of one round evaluated, as far as they are in the store."""

    intake: Intake
    stopper: Stopper
    runner: ArrayRunner
    round: int
    epoch: int
    grace_s: float
    beside: Callable[[], int] = lambda: 0
    """Returns how many candidates of other rounds are at work."""
    _has_begun: bool = field(default=False, init=False)

    @property
    def held(self) -> tuple[str, ...]:
        """Why tasks wait for a person, as the scheduler says it."""
        return tuple(self.dispatch.held)

    @cached_property
    def dispatch(self) -> Dispatch:
        """What has been handed out."""
        intake, per_task = self.intake, self.intake.config.evaluation.candidates_per_task
        return Dispatch(intake.run, intake.run_id, self.epoch, self.round, self.runner, per_task, self.grace_s)

    @cached_property
    def _rungs(self) -> Rungs:
        return self.intake.rungs(self.round, self.epoch)

    def _begin(self) -> None:
        """Go on from where an earlier driver was."""
        self._has_begun = True
        self.intake.restore_sources(self.round)
        self.dispatch.resume(self.intake.store.attempts(self.round), self.intake.store.pending(self.round))

    def step(self, *, is_whole: bool = True) -> bool:
        """Do what can be done now, at first what an earlier driver left; return whether a result has arrived.

        Args:
            is_whole: all children of the round are in the store; until they are, no rung is decided, and no budget ends
                the search for want of children that it allows.

        Raises:
            BudgetSpent: the search ends here.
            TaskError: the task itself failed on a seed.
            LeaseError, RunFolderError, EvaluationError, StorageError: see `Dispatch`.
        """
        if not self._has_begun:
            self._begin()
        store, dispatch, rungs = self.intake.store, self.dispatch, self._rungs
        pending, attempted = store.pending(self.round), store.attempts(self.round)
        due = rungs.due(pending, attempted, is_whole=is_whole)
        beside = self.beside()
        allowed = self.stopper.allowed(self.round, due, dispatch.in_flight, is_whole=is_whole, beside=beside)
        fresh = dispatch.fresh(next_attempts(allowed, attempted, has_rungs=not rungs.course.is_single))
        dispatch.hand_out(longest_first(fresh, attempted))
        dispatch.poll()
        has_arrived = self.collect()
        seeds.check_task(store, self.round)
        dispatch.mark_lost()
        return has_arrived

    def collect(self) -> bool:
        """Enter the results that have arrived, which are no longer waited for; return whether there were any."""
        arrived = self.intake.collect(self.round)
        self.dispatch.record(arrived)
        return bool(arrived)
