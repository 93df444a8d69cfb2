"""Ends a search whose budget is spent (`search.stop`): what it may still evaluate, and the note that it has ended."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from evohpc import envelopes
from evohpc.config.search import SearchConfig
from evohpc.config.stop import StopConfig
from evohpc.driver.clock import Clock
from evohpc.errors import EnvelopeError, storage_error
from evohpc.evolution import population, stopping
from evohpc.evolution.stopping import EarlyEnd, Spent
from evohpc.files import write_atomic
from evohpc.lm_job import times
from evohpc.messages import SEED_ROUND, Status
from evohpc.run_folder import RunDir
from evohpc.store.rows import Kin
from evohpc.store.store import Store

_IDLE = "rounds_without_improvement"
_AT_ONCE = frozenset({"target_fitness", "wall_hours"})
"""Budgets that end a search while candidates are at work. What the others have paid for is waited for."""


class BudgetSpent(Exception):
    """The search ends here."""

    def __init__(self, early_end: EarlyEnd) -> None:
        super().__init__(early_end.key)
        self.early_end = early_end

    @property
    def is_at_once(self) -> bool:
        """Whether what is at work is not waited for."""
        return self.early_end.key in _AT_ONCE


@dataclass
class Stopper:
    """Knows what a search has spent."""

    run: RunDir
    store: Store
    search: SearchConfig
    clock: Clock
    _within: dict[int, tuple[int, frozenset[str]]] = field(default_factory=dict, init=False)
    """By round: the number of its candidates, and which of them the budget of evaluations allows."""

    def check_before(self, round: int) -> None:
        """See whether the search may open a round.

        Raises:
            BudgetSpent: it may not.
        """
        self._end_if(round, frozenset(StopConfig.model_fields))

    def check_at_work(self, round: int) -> None:
        """See whether the search may wait for what is at work.

        Raises:
            BudgetSpent: it may not.
            StorageError: the file system refused.
        """
        self.clock.note_if_due()
        self._end_if(round, _AT_ONCE)

    def allowed(
        self,
        round: int,
        pending: Collection[str],
        in_flight: Collection[str],
        *,
        is_whole: bool = True,
        beside: int = 0,
    ) -> list[str]:
        """Return which of the candidates of a round that wait for a result may be at work: those in flight, and as many
        more as the budgets allow, in order of id.

        Args:
            is_whole: all children of the round are known.
            beside: how many of other rounds are in flight (`search.close_at`).

        Raises:
            BudgetSpent: none may, of a round that is whole, and no other is.
        """
        self.check_at_work(round)
        if not (self.search.stop.evaluations or self.search.stop.compute_hours):
            return sorted(pending)
        within = self._within_evaluations(round)
        waiting = [id for id in sorted(pending) if id in within and id not in in_flight]
        more = waiting[: self._affordable(len(in_flight) + beside)]
        if is_whole and pending and not (more or in_flight or beside):
            self._end(round, "compute_hours" if waiting else "evaluations")
        return sorted({*in_flight, *more})

    def allows_all(self, round: int) -> bool:
        """Say whether the budget of evaluations has room for a whole round: then it does not end the search there."""
        limit = self.search.stop.evaluations
        return limit is None or round == SEED_ROUND or self._of_rounds(range(round + 1)) <= limit

    def begin(self) -> None:
        """The search goes on, as far as is known.

        Raises:
            StorageError: the file system refused.
        """
        try:
            self.run.stopped.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(self.run.stopped, error) from error

    def end(self, early_end: EarlyEnd) -> None:
        """Leave a note of why the search has ended.

        Raises:
            StorageError: the file system refused.
        """
        self.clock.note()
        write_atomic(self.run.stopped, envelopes.encode(early_end))

    def _end_if(self, round: int, keys: Collection[str]) -> None:
        for key, limit, cost in stopping.reached(self.search.stop, self._spent(keys)):
            if key in keys:
                raise BudgetSpent(_early_end(key, limit, cost, round))

    def _end(self, round: int, key: str) -> NoReturn:
        """End for a budget that has too little left for one more evaluation."""
        raise BudgetSpent(_early_end(key, getattr(self.search.stop, key), getattr(self._spent({key}), key), round))

    def _spent(self, keys: Collection[str]) -> Spent:
        """Return what the search has come to, as far as one of these budgets asks for it."""
        asked = {key for key in keys if getattr(self.search.stop, key) is not None}
        best = population.best(self.store.scores(), 1, self.search) if "target_fitness" in asked else []
        closed = [row["round"] for row in self.store.rows("closed_rounds")] if _IDLE in asked else []
        return Spent(
            best=best[0].fitness if best else None,
            idle_rounds=stopping.idle_rounds(self._kin() if closed else (), closed, self.search),
            evaluations=self._evaluations() if "evaluations" in asked else 0,
            compute_hours=sum(self._compute_hours()) if "compute_hours" in asked else 0.0,
            wall_hours=self.clock.hours,
        )

    def _kin(self) -> Iterator[Kin]:
        """Yield all candidates, each with the first round that closed when its outcome was known."""
        known_with = population.known_with(
            (row["round"], row["candidate_id"]) for row in self.store.rows("late_candidates")
        )
        return (kin._replace(round=known_with.get(kin.id, kin.round)) for kin in self.store.kin())

    def _evaluations(self) -> int:
        """Return how many there were; those of a closed round that are late are at work, and paid for."""
        counts = self.store.counts_by_round().items()
        return sum(_admitted(of) if self.store.is_closed(r) else _evaluated(of) for r, of in counts if r >= 0)

    def _of_rounds(self, rounds: Iterable[int]) -> int:
        """Return how many evaluations of children these rounds come to."""
        counts = self.store.counts_by_round()
        return sum(_admitted(counts.get(round, {})) for round in rounds)

    def _compute_hours(self) -> tuple[float, float]:
        """Return the hours of evaluations, and those of the language model."""
        rounds = range((self.store.last_round() or 0) + 1)
        drawn = sum(sum(times.seconds(self.run.round(round)).values()) for round in rounds) / 3600
        return self.store.evaluation_seconds()[0] / 3600, drawn

    def _affordable(self, in_flight: int) -> int:
        limit = self.search.stop.compute_hours
        if limit is None:
            return sys.maxsize
        seconds, count = self.store.evaluation_seconds()
        left = limit - sum(self._compute_hours())
        return stopping.affordable(left, in_flight, seconds / 3600 / count if count else None)

    def _within_evaluations(self, round: int) -> frozenset[str]:
        """Return which candidates of a round the budget of evaluations allows: the same at every call."""
        limit, known = self.search.stop.evaluations, sum(self.store.counts(round).values())
        if round not in self._within or self._within[round][0] != known:
            # As they were drawn, which ids do not sort in from prompt 100 on: those of a portion come after the last's.
            drawn = sorted((e.candidate for e in self.store.entries(round)), key=lambda c: (c.prompt, c.sample, c.id))
            ids = [candidate.id for candidate in drawn if not candidate.status.is_refused]
            if limit is not None and round != SEED_ROUND:
                ids = ids[: max(0, limit - self._of_rounds(range(round)))]
            self._within[round] = known, frozenset(ids)
        return self._within[round][1]


def early_end(run: RunDir) -> EarlyEnd | None:
    """Return why a search has ended before its last round; None if it has not, or is being driven again."""
    try:
        return envelopes.decode(run.stopped.read_bytes(), EarlyEnd)
    except (OSError, EnvelopeError):
        return None


def _evaluated(counts: Mapping[Status, int]) -> int:
    return sum(n for status, n in counts.items() if not status.is_refused and status is not Status.PENDING)


def _admitted(counts: Mapping[Status, int]) -> int:
    return sum(n for status, n in counts.items() if not status.is_refused)


def _early_end(key: str, limit: float, reached: float, round: int) -> EarlyEnd:
    return EarlyEnd(key, float(limit), float(reached), round, datetime.now(UTC).isoformat(timespec="seconds"))
