"""The evaluations of several rounds: of the open one, and of those that closed while some of theirs were at work
(`search.close_at`).

What comes in late is entered as any result is, into the round that it belongs to. The record of each closing
(late.json, `Intake.late`) says who was late: so nothing that is selected or tuned on depends on when the driver sees
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from evohpc.driver import results
from evohpc.driver.evaluating import Evaluating
from evohpc.driver.intake import Intake
from evohpc.driver.stopper import Stopper
from evohpc.evolution.population import Budget
from evohpc.jobs.shared import SharedRunner
from evohpc.messages import Candidate, Status


@dataclass
class AtWork:
    """Has the children of all rounds evaluated that wait for results."""

    intake: Intake
    stopper: Stopper
    runner: SharedRunner
    epoch: int
    grace_s: Callable[[], float]
    note_progress: Callable[[], None]
    """Told when results have arrived."""
    _rounds: dict[int, Evaluating] = field(default_factory=dict, init=False)
    _late: list[int] = field(default_factory=list, init=False)

    @property
    def late(self) -> tuple[int, ...]:
        """Closed rounds of whose candidates some are at work."""
        return tuple(self._late)

    @property
    def held(self) -> tuple[str, ...]:
        """Why tasks wait for a person, as the scheduler says it."""
        return tuple(sorted({reason for evaluating in self._rounds.values() for reason in evaluating.held}))

    def of(self, round: int) -> Evaluating:
        """Return the evaluations of a round."""
        if round not in self._rounds:
            runner, beside = self.runner.of(round), lambda: self._in_flight_beside(round)
            self._rounds[round] = Evaluating(
                self.intake, self.stopper, runner, round, self.epoch, self.grace_s(), beside
            )
        return self._rounds[round]

    def waits(self, round: int) -> bool:
        """Enter the results of a round that have arrived; say whether candidates still wait for theirs."""
        if self.of(round).collect():
            self.note_progress()
        if not self.intake.run.round(round).archive.exists():
            return bool(self.intake.store.pending(round))
        self.intake.give_up(round, 0)  # the database was lost, not the round: what its archive lacks will not come
        return False

    def begin(self) -> None:
        """Go on from what is on disk: an earlier driver may have left it, or this one before a refusal."""
        self._rounds.clear()
        for round in self.intake.store.rounds_with_late():
            if self.intake.store.pending(round):
                self.waits(round)
        self._late = self._still_late(self.intake.store.rounds_with_late())

    def note_closed(self, round: int) -> None:
        """A round has closed: it is over, or one of the late."""
        self._late += self._still_late([round])

    def may_close(self, round: int) -> bool:
        """Say whether a round may close now; the last one waits for the late of all.

        Raises:
            RunFolderError: see `Intake.may_close`.
        """
        if not self.intake.store.pending(round):
            is_last = round == Budget.of(self.intake.config.search).rounds - 1
            return not (is_last and self._late)
        return self.intake.may_close(round) and self.stopper.allows_all(round)

    def step(self, round: int) -> bool:
        """Do what can be done now for the open round and closed ones; return whether a result has arrived.

        Raises:
            As `step_late`.
            TaskError: the task itself failed on a seed.
        """
        is_waiting = bool(self.intake.store.pending(round))
        has_arrived = is_waiting and self.of(round).step()
        if has_arrived:
            self.note_progress()
        return self.step_late() or has_arrived

    def step_late(self) -> bool:
        """Do what can be done now for closed rounds; return whether a result has arrived.

        Raises:
            BudgetSpent: the search ends here.
            LeaseError, RunFolderError, EvaluationError, StorageError: see `Dispatch`.
        """
        has_arrived = any([self.of(round).step() for round in self._late])
        self._late = self._still_late(self._late)
        if has_arrived:
            self.note_progress()
        return has_arrived

    def waiting(self, *rounds: int) -> list[Candidate]:
        """Return the candidates of some rounds that may be evaluated now, by whoever it is.

        Raises:
            BudgetSpent: there are none for which a budget has room.
        """
        found: list[Candidate] = []
        for round in rounds:
            entries = self.intake.store.entries(round, Status.PENDING)
            ids = self.stopper.allowed(round, [entry.id for entry in entries], (), beside=len(found))
            found += [entry.candidate for entry in entries if entry.id in ids]
        return found

    def _still_late(self, rounds: Sequence[int]) -> list[int]:
        """Return which of these closed rounds have candidates without an outcome; tidy up after the others."""
        late = [round for round in rounds if self.intake.store.pending(round)]
        for round in set(rounds).difference(late):
            folder = self.intake.run.round(round)
            if folder.archive.exists() or folder.results.is_dir():
                results.pack(folder)
            self._rounds.pop(round, None)
            self.runner.forget(round)
        return late

    def _in_flight_beside(self, round: int) -> int:
        return sum(len(evaluating.dispatch.in_flight) for r, evaluating in self._rounds.items() if r != round)
