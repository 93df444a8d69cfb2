"""What trackers are told of a round: numbers by step, the same however often they are asked for.

A step is the number of a child in the search; 0 are the seeds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from evohpc.config.search import SearchConfig
from evohpc.evolution import population
from evohpc.messages import SEED_ROUND
from evohpc.store.rows import Entry
from evohpc.store.store import Store

Scalar = tuple[int, str, float]
"""A step, a tag and the value there."""


@dataclass(frozen=True)
class Told:
    """A round as trackers see it."""

    scalars: tuple[Scalar, ...]
    """In order of their steps; none twice."""
    finished_at: float
    """When its last evaluation was over, in seconds since 1970; now, if there was none."""


class Scalars:
    """Reads rounds of a search for its trackers."""

    def __init__(self, store: Store, search: SearchConfig) -> None:
        self._store, self._search = store, search
        self._fittest: dict[int, list[Entry]] = {}
        """Of rounds that have closed: the fittest, if it is fit enough to be selected."""

    def of(self, round: int) -> Told:
        """Return a round; all earlier ones must have closed."""
        entries = list(self._store.every(round))
        scalars = self._scalars(round, entries, self._best_before(round))
        return Told(tuple(dict.fromkeys(scalars)), _finished(entries))

    def _best_before(self, round: int) -> list[Entry]:
        """Return the fittest of all earlier rounds, each of which is read once."""
        for earlier in range(SEED_ROUND, round):
            if earlier not in self._fittest:
                entries = list(self._store.every(earlier))
                self._fittest[earlier] = population.evaluated(entries, self._search)[:1]
        best = [entry for earlier in range(SEED_ROUND, round) for entry in self._fittest[earlier]]
        return population.by_fitness(best)[:1]

    def _scalars(self, round: int, entries: Sequence[Entry], best: list[Entry]) -> Iterator[Scalar]:
        """Yield a round: by the numbers of its trained children, and by the number of its last child."""
        first = max(0, round) * population.Budget.of(self._search).per_round
        for number, entry in enumerate(entries, first + 1):
            step = 0 if round == SEED_ROUND else number
            if entry.fitness is not None and round != SEED_ROUND:
                yield step, "child/fitness", entry.fitness
            if population.passes(entry, self._search) and population.by_fitness([*best, entry])[0] is entry:
                best = [entry]
                if round != SEED_ROUND:
                    yield from _best(step, entry)
        last = 0 if round == SEED_ROUND else first + len(entries)
        if best:
            yield from _best(last, best[0])
        if round != SEED_ROUND:
            counts = Counter(entry.candidate.status for entry in entries)
            yield from ((last, f"outcome/{status}", counts[status] / len(entries)) for status in sorted(counts))


def _best(step: int, entry: Entry) -> Iterator[Scalar]:
    for name in ("fitness", "error", "num_params"):
        yield step, f"best/{name}", getattr(entry.result, name)


def _finished(entries: Sequence[Entry]) -> float:
    times = [entry.result.finished_at for entry in entries if entry.result and entry.result.finished_at]
    return datetime.fromisoformat(max(times)).timestamp() if times else time.time()
