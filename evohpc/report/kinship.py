"""Who descends from whom: a candidate's ancestors and descendants, and both as trees. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from evohpc.evolution.population import by_fitness
from evohpc.store.rows import Kin

Step = Callable[[str], Sequence[str]]
"""From a candidate to its next of kin, up or down."""


@dataclass(frozen=True)
class Branch:
    """A candidate in a tree, with those that hang on it."""

    id: str
    branches: tuple[Branch, ...] = ()
    is_repeated: bool = False
    """It stands elsewhere in the tree, with its branches."""
    hidden: int = 0
    """How many further candidates are behind it, that the tree's depth leaves out."""


class Family:
    """All candidates of a search, by descent."""

    def __init__(self, kin: Iterable[Kin]) -> None:
        self._kin = {one.id: one for one in kin}
        self._children: dict[str, list[Kin]] = {}
        for one in self._kin.values():
            for parent in dict.fromkeys(one.parents):
                self._children.setdefault(parent, []).append(one)

    def __getitem__(self, id: str) -> Kin:
        """Return a candidate that is there."""
        return self._kin[id]

    def __contains__(self, id: object) -> bool:
        """Say whether there is such a candidate."""
        return id in self._kin

    def __iter__(self) -> Iterator[Kin]:
        """Yield all candidates, seeds first."""
        return iter(self._kin.values())

    def parents(self, id: str) -> list[str]:
        """Return the parents of a candidate that are known, each once, in the order in which its prompt showed them."""
        return [parent for parent in dict.fromkeys(self._kin[id].parents) if parent in self._kin]

    def children(self, id: str) -> list[str]:
        """Return whose prompts showed it, the fittest first."""
        return [child.id for child in by_fitness(self._children.get(id, ()))]

    def ancestors(self, id: str) -> list[str]:
        """Return all whose programs went into it, the nearest first."""
        return _reached(id, self.parents)

    def descendants(self, id: str) -> list[str]:
        """Return all that its program went into, the nearest first."""
        return _reached(id, self.children)

    def path(self, id: str) -> list[str]:
        """Return a candidate, the fittest of its parents, the fittest of that one's, and so on to a seed."""
        found = [id]
        while parents := by_fitness(self._kin[parent] for parent in self.parents(found[-1])):
            found.append(parents[0].id)
        return found


def tree(id: str, step: Step, depth: int | None = None) -> Branch:
    """Return what hangs on a candidate, going up (`Family.parents`) or down (`Family.children`).

    A candidate that can be reached by several ways has its branches where it is nearest to the root; of equal ways, on
    the first.

    Args:
        depth: steps from the candidate; None for all.
    """
    distance = _distances(id, step)
    placed: set[str] = set()

    def grow(name: str, level: int) -> Branch:
        if name in placed or distance[name] < level:
            return Branch(name, is_repeated=bool(step(name)))
        placed.add(name)
        if level == depth:
            return Branch(name, hidden=len(_reached(name, step)))
        return Branch(name, tuple(grow(further, level + 1) for further in step(name)))

    return grow(id, 0)


def _reached(id: str, step: Step) -> list[str]:
    return [name for name in _distances(id, step) if name != id]


def _distances(id: str, step: Step) -> dict[str, int]:
    """Return the least number of steps to each candidate that can be reached, the nearest first."""
    found = {id: 0}
    queue = [id]
    for name in queue:
        for further in step(name):
            if further not in found:
                found[further] = found[name] + 1
                queue.append(further)
    return found
