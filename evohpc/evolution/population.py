"""Algorithms 1 and 3 of the paper: who is scored, who survives, who leaves, and what the soft prompt learns from. Pure.

Each line of Algorithm 1, with what does it here (P are the parents, G is the pool, theta is the soft prompt):

    G <- [], P <- InitializePopulation(p)              initial_parents
    while t < T:                                       Budget
        C        <- CrossMut(pi_theta, P, m, k, n)     Algorithm 2: prompts.py and request.py
        C_EVALED <- FilterAndEval(C, T, D, alpha)      Algorithm 3: passes, fitness, evaluated
        G        <- G + C_EVALED                       added_to_pool
        P        <- GetTop(G, p)                       select: get_top, or random_parents
        G        <- G \\ P                              leaving (section 3)
        theta    <- Train(theta, C_EVALED \\ P)         is_tuned, tuning_examples, adapter_to_continue
    return GetTop(G, p)                                best

Rows come in and values go out; the store fetches and writes them. Where the paper contradicts itself, the choice is a
field of `SearchConfig`, whose docstring quotes both readings.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

from evohpc.evolution.randomness import Draw, generator
from evohpc.messages import SEED_ROUND

if TYPE_CHECKING:  # evaluation images, in which tasks ask for `fitness`, have nothing that reads YAML
    from evohpc.config.search import SearchConfig


class HasError(Protocol):
    """Something that was evaluated."""

    @property
    def error(self) -> float | None:
        """What alpha is compared with; None where it was not trained."""


class Scored(HasError, Protocol):
    """A candidate with its outcome."""

    @property
    def id(self) -> str:
        """Id of the candidate."""

    @property
    def fitness(self) -> float | None:
        """None where it was not trained."""


T = TypeVar("T")
E = TypeVar("E", bound=HasError)
S = TypeVar("S", bound=Scored)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many children a search has."""

    rounds: int
    """T."""
    prompts: int
    """m, prompts of a round."""
    samples: int
    """n, completions of a prompt."""

    @classmethod
    def of(cls, search: SearchConfig) -> Budget:
        """Return T, m and n. `naive` draws all T*m*n samples in one round: "the number of samples per prompt is raised
        so that the total equals the others" (section 4)."""
        if search.variant == "naive":
            return cls(min(1, search.rounds), search.prompts_per_round, search.samples_per_prompt * search.rounds)
        return cls(search.rounds, search.prompts_per_round, search.samples_per_prompt)

    @property
    def per_round(self) -> int:
        """Children of one round, m*n."""
        return self.prompts * self.samples


def fitness(num_params: int, error: float) -> float:
    """Return s of Algorithm 3, the negative product of model size and validation error; higher is better."""
    return -num_params * error


def passes(candidate: HasError, search: SearchConfig) -> bool:
    """Say whether a candidate is scored at all; Algorithm 3: `if c.error < alpha`."""
    return candidate.error is not None and candidate.error < search.error_threshold


def evaluated(children: Iterable[S], search: SearchConfig) -> list[S]:
    """Return C_EVALED, the children that pass, the fittest first."""
    return by_fitness(child for child in children if passes(child, search))


def by_fitness(rows: Iterable[S]) -> list[S]:
    """Return rows in the order of GetTop: the fittest first, equals by id; what was not trained comes last."""
    return sorted(rows, key=lambda row: (float("inf") if row.fitness is None else -row.fitness, row.id))


def initial_parents(seeds: Iterable[S]) -> list[S]:
    """Return P of round 0, the seeds that could be trained. Alpha is not asked: the paper chose them by hand."""
    return by_fitness(seed for seed in seeds if seed.fitness is not None)


def may_close(round: int, known: int, evaluated: int, search: SearchConfig) -> bool:
    """Say whether a round may close (`search.close_at`). One whose children the last selection would miss may not while
    one of them is at work, nor may the seeds', as all of them are parents.

    Args:
        known: how many of its candidates have an outcome.
        evaluated: how many of them get one, those refused unread left out.
    """
    is_whole = round in (SEED_ROUND, Budget.of(search).rounds - 1)
    share = 1.0 if is_whole else search.close_at
    return known >= math.ceil(share * evaluated - 1e-9)  # 0.7 of ten are seven, whatever binary fractions make of it


def in_time(candidates: Iterable[S], late: Collection[str]) -> list[S]:
    """Return those of whom a round that closed without the late ones knew the outcome."""
    return [candidate for candidate in candidates if candidate.id not in late]


def known_with(late: Iterable[tuple[int, str]]) -> dict[str, int]:
    """Return of each candidate that was late the first round that its outcome can be known to at its closing.

    Args:
        late: (round, id) of each that a round closed without.
    """
    found: dict[str, int] = {}
    for round, id in late:
        found[id] = max(round + 1, found.get(id, 0))
    return found


def added_to_pool(round: int, concluded: Iterable[E], search: SearchConfig) -> list[E]:
    """Return which candidates of a round enter G, whose outcome is final."""
    if round == SEED_ROUND and not search.seeds_in_pool:
        return []
    return [candidate for candidate in concluded if passes(candidate, search)]


def get_top(ranked: Iterable[T], count: int) -> list[T]:
    """Return GetTop(G, p): the first `count` of a pool that comes in the order of `by_fitness`."""
    return list(islice(ranked, count))


def promoted(trained: Iterable[S], keep: float) -> list[str]:
    """Return who goes on to the next rung (`evaluation.rungs`): the fittest share of those trained, rounded, one at
    least. Alpha is not asked: what a cheap training leaves of an error says little about the whole one.

    Args:
        trained: all that were trained at this rung, with the fitness that it measured.
    """
    ranked = by_fitness(trained)
    return [row.id for row in get_top(ranked, max(1, math.floor(keep * len(ranked) + 0.5)))]


def select(round: int, ranked: Iterable[str], last_parents: Sequence[str], search: SearchConfig) -> list[str]:
    """Return P after a round, the parents of the next one.

    Args:
        ranked: ids of G, or of what this round added to it (`search.pool`), in the order of `by_fitness`.
        last_parents: P of this round. They stay if G is empty: the paper does not say what to do then.
    """
    pool = iter(ranked)  # what is not the fittest of a large one is not read, unless some of it is drawn
    by_lot = search.survivors if search.variant == "random_parents" else search.random_survivors
    fittest = get_top(pool, search.survivors - by_lot)
    return [*fittest, *(random_parents(round, pool, by_lot, search) if by_lot else ())] or list(last_parents)


def random_parents(round: int, pool: Iterable[str], most: int, search: SearchConfig) -> list[str]:
    """Return ids of a pool, drawn without replacement and without regard to fitness, in order of id (section 4)."""
    names = sorted(pool)
    count = min(most, len(names))
    drawn = generator(search.seed, round, Draw.PARENTS).choice(len(names), size=count, replace=False)
    return [names[i] for i in sorted(int(i) for i in drawn)]


def leaving(round: int, parents: Sequence[str], search: SearchConfig) -> list[str]:
    """Return who leaves G: selected models "are permanently removed from the population" (section 3)."""
    return list(parents) if search.retire_parents and round != SEED_ROUND else []


def is_tuned(search: SearchConfig) -> bool:
    """Say whether the variant tunes the soft prompt at all (section 4)."""
    return search.variant not in ("no_tuning", "naive")


def tuning_examples(round: int, children: Iterable[S], parents: Collection[str], search: SearchConfig) -> list[S]:
    """Return what theta is tuned on after a round, C_EVALED \\ P, the fittest first; nothing after that of the seeds.

    Args:
        children: all candidates of the round.
        parents: ids of P as selected after it.
    """
    if round == SEED_ROUND:
        return []
    takes_all = search.tuning_data == "all_evaluated"
    return [child for child in evaluated(children, search) if takes_all or child.id not in parents]


def adapter_to_continue(round: int, tuned: Collection[int]) -> int | None:
    """Return the round whose theta a round goes on from, the newest that has one: a tuning may have failed, or there
    was nothing to tune on. None if there is none yet.

    Args:
        tuned: the rounds whose tuning left an adapter.
    """
    return max((earlier for earlier in tuned if earlier < round), default=None)


def best(ranked: Iterable[S], count: int, search: SearchConfig) -> list[S]:
    """Return GetTop of all candidates ever scored: those that were selected have left G and would be missing else.

    Only such that pass: a network that has hardly any parameters and learns nothing may be fitter still.

    Args:
        ranked: trained candidates in the order of `by_fitness`.
    """
    return get_top((row for row in ranked if passes(row, search)), count)
