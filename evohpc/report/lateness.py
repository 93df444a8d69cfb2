"""Who was late (`search.close_at`): the candidates that had no outcome when their round closed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evohpc.config.search import SearchConfig
from evohpc.evolution import population
from evohpc.store.store import Store


def late_until(store: Store) -> dict[str, int]:
    """Return, of each candidate that was late, the first round that could know its outcome."""
    return population.known_with((row["round"], row["candidate_id"]) for row in store.rows("late_candidates"))


def entered(store: Store, late: Mapping[str, int], search: SearchConfig) -> int:
    """Return how many of those that were late have entered the pool of a later round."""
    return sum(entry.fitness is not None and population.passes(entry, search) for entry in store.with_ids(late))


def lines(late: Mapping[str, int], pending: int, entered: int) -> Iterator[tuple[str, str]]:
    """Yield (name, value) lines for people.

    Args:
        pending: how many of them have no outcome yet.
        entered: how many have entered a pool.
    """
    if pending:
        yield "late", f"{pending} of closed rounds without an outcome yet (search.close_at)"
    if late:
        yield "were late", f"{len(late)} when their round closed; {entered} entered the pool of a later one"
