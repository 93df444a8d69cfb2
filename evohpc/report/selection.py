"""Whom a selection chose from, replayed from rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evohpc.config.search import SearchConfig
from evohpc.evolution.population import by_fitness, known_with, passes
from evohpc.messages import SEED_ROUND
from evohpc.report.kinship import Family
from evohpc.store.rows import Kin


@dataclass(frozen=True)
class Selections:
    """The survivors of each closed round, and the pools that they were selected from."""

    family: Family
    survivors: Mapping[int, Sequence[str]]
    """By round, in rank order; closed rounds only."""
    search: SearchConfig
    late: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """By round, who had no outcome when it closed (`search.close_at`)."""

    def known_with(self, one: Kin) -> int:
        """Return the first round at whose closing a candidate's outcome could be known: its own, or a later one."""
        pairs = ((round, id) for round, ids in self.late.items() for id in ids if id == one.id)
        return known_with(pairs).get(one.id, one.round)

    def selected_after(self, id: str) -> list[int]:
        """Return the rounds after which a candidate was selected."""
        return [round for round, ids in sorted(self.survivors.items()) if id in ids]

    def pool(self, round: int) -> list[Kin]:
        """Return the pool (G of Algorithm 1) that the survivors of a round were selected from, the fittest first."""
        left = set() if not self.search.retire_parents else self._selected_before(round)
        return by_fitness(one for one in self.family if self.was_in_pool(one, round) and one.id not in left)

    def was_in_pool(self, one: Kin, round: int) -> bool:
        """Say whether a candidate had entered the pool when the survivors of a round were selected."""
        if one.fitness is None or not passes(one, self.search):
            return False
        if one.round == SEED_ROUND and not self.search.seeds_in_pool:
            return False
        if one.id in self.late.get(round, ()):
            return False
        return one.round == round if self.search.pool == "last_round" else one.round <= round

    def best(self) -> list[Kin]:
        """Return all that count among the best of the search, the fittest first."""
        return by_fitness(one for one in self.family if one.fitness is not None and passes(one, self.search))

    def _selected_before(self, round: int) -> set[str]:
        return {id for earlier, ids in self.survivors.items() if SEED_ROUND < earlier < round for id in ids}
