"""When a search ends before its last round: budgets that are spent (`search.stop`). Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from evohpc.evolution.population import HasError, passes
from evohpc.messages import SEED_ROUND

if TYPE_CHECKING:
    from evohpc.config.search import SearchConfig
    from evohpc.config.stop import StopConfig


@dataclass(frozen=True, slots=True)
class EarlyEnd:
    """Why a search ended before its last round."""

    key: str
    """Of `search.stop`, e.g. 'evaluations'."""
    limit: float
    reached: float
    """What it had come to."""
    round: int
    """That was open, or would have been next."""
    at: str = ""
    """UTC, ISO 8601."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a search has come to."""

    best: float | None
    """The best fitness so far of those that pass."""
    idle_rounds: int
    """Closed rounds at its end without an improvement."""
    evaluations: int
    """Of children, in closed rounds and this one."""
    compute_hours: float
    wall_hours: float


def reached(stop: StopConfig, spent: Spent) -> Iterator[tuple[str, float, float]]:
    """Yield (key, limit, what it came to) of each budget that is reached."""
    if stop.target_fitness is not None and spent.best is not None and spent.best >= stop.target_fitness:
        yield "target_fitness", stop.target_fitness, spent.best
    costs = (
        ("rounds_without_improvement", stop.rounds_without_improvement, spent.idle_rounds),
        ("evaluations", stop.evaluations, spent.evaluations),
        ("compute_hours", stop.compute_hours, spent.compute_hours),
        ("wall_hours", stop.wall_hours, spent.wall_hours),
    )
    for key, limit, cost in costs:
        if limit is not None and cost >= limit:
            yield key, limit, cost


class Row(HasError, Protocol):
    """A candidate with its round and outcome."""

    @property
    def round(self) -> int:
        """SEED_ROUND for a seed."""

    @property
    def fitness(self) -> float | None:
        """None where it was not trained."""


def idle_rounds(rows: Iterable[Row], closed: Sequence[int], search: SearchConfig) -> int:
    """Return how many closed rounds there are since the one that improved the best fitness; seeds are not one."""
    best_of: dict[int, float] = {}
    for row in rows:
        if row.fitness is not None and passes(row, search):
            best_of[row.round] = max(row.fitness, best_of.get(row.round, -math.inf))
    best, idle = -math.inf, 0
    for round in sorted(closed):
        idle = 0 if best_of.get(round, -math.inf) > best or round == SEED_ROUND else idle + 1
        best = max(best, best_of.get(round, -math.inf))
    return idle


def affordable(hours_left: float, in_flight: int, hours_each: float | None) -> int:
    """Return how many more evaluations fit into what is left, those in flight counted.

    Args:
        hours_each: what one took so far, on average; None before the first.
    """
    if hours_left <= 0:
        return 0
    if not hours_each:
        return 1_000_000_000
    return max(0, math.floor(hours_left / hours_each) - in_flight)
