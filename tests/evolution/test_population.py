"""Algorithms 1 and 3, compared with a literal transcription of the paper's pseudocode on random populations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evohpc.config.search import SearchConfig
from evohpc.evolution import population
from evohpc.evolution.population import Budget
from evohpc.messages import SEED_ROUND

VARIANTS = ("evoprompting", "no_tuning", "random_parents", "naive")


class Child(NamedTuple):
    """A candidate with its outcome."""

    id: str
    error: float | None
    fitness: float | None


def evaluated(id: str, outcome: tuple[int, float] | None) -> Child:
    """Return a candidate of that size and error; None where it could not be trained."""
    return Child(id, None, None) if outcome is None else Child(id, outcome[1], population.fitness(*outcome))


Outcome = tuple[int, float] | None

outcomes = st.one_of(st.none(), st.tuples(st.integers(1, 6), st.sampled_from([0.0, 0.1, 0.25, 0.4999, 0.5, 0.75, 1.0])))
"""Few values, so that ties and errors of exactly alpha are common."""
rounds = st.lists(st.lists(outcomes, max_size=8), min_size=1, max_size=5)
searches = st.builds(
    SearchConfig,
    variant=st.sampled_from(VARIANTS),
    survivors=st.integers(1, 4),
    random_survivors=st.integers(0, 1),
    error_threshold=st.sampled_from([0.25, 0.5, 1.0]),
    pool=st.sampled_from(["all_rounds", "last_round"]),
    retire_parents=st.booleans(),
    seeds_in_pool=st.booleans(),
    tuning_data=st.sampled_from(["unselected", "all_evaluated"]),
    seed=st.integers(0, 3),
)


def paper(seeds: list[Child], all_children: list[list[Child]], search: SearchConfig) -> Iterable[tuple[object, ...]]:
    """Algorithm 1 as it is printed, with Algorithm 3 in it; yields (P, names of what theta is tuned on) of each round.

    What the paper leaves open is what the fields of `SearchConfig` say. Nothing here is shared with the product but
    the generator of random parents.
    """
    alpha = search.error_threshold

    def filter_and_eval(candidates: list[Child]) -> list[tuple[Child, float]]:
        out = []
        for c in candidates:
            if c.error is not None and c.error < alpha:
                assert c.fitness is not None
                out.append((c, c.fitness))
        return out

    def get_top(g: list[tuple[Child, float]], p: int) -> list[str]:
        g = sorted(g, key=lambda pair: pair[0].id)
        g.sort(key=lambda pair: pair[1], reverse=True)
        return [c.id for c, _ in g][:p]

    G = filter_and_eval(seeds) if search.seeds_in_pool else []
    P = get_top([(c, c.fitness) for c in seeds if c.fitness is not None], len(seeds))
    yield P, []
    for t, children in enumerate(all_children):
        C_EVALED = filter_and_eval(children)
        G = G + C_EVALED
        eligible = [pair for pair in G if pair in C_EVALED] if search.pool == "last_round" else G
        if search.variant == "random_parents":
            selected = population.random_parents(t, [c.id for c, _ in eligible], search.survivors, search)
        else:  # `random_survivors`, which the paper has not, takes the rest of p from what GetTop leaves
            selected = get_top(eligible, search.survivors - search.random_survivors)
            others = [c.id for c, _ in eligible if c.id not in selected]
            selected += population.random_parents(t, others, search.random_survivors, search)
        P = selected or P
        if search.retire_parents:
            G = [(c, s) for c, s in G if c.id not in P]
        tuned = [(c, s) for c, s in C_EVALED if search.tuning_data == "all_evaluated" or c.id not in P]
        yield P, get_top(tuned, len(tuned))


def ours(seeds: list[Child], all_children: list[list[Child]], search: SearchConfig) -> Iterable[tuple[object, ...]]:
    """The functions of the product, called as the driver calls them; the pool is the store's table."""
    pool: dict[str, tuple[int, Child]] = {
        c.id: (SEED_ROUND, c) for c in population.added_to_pool(SEED_ROUND, seeds, search)
    }
    parents = [c.id for c in population.initial_parents(seeds)]
    yield parents, [c.id for c in population.tuning_examples(SEED_ROUND, seeds, parents, search)]
    for number, children in enumerate(all_children):
        pool |= {c.id: (number, c) for c in population.added_to_pool(number, children, search)}
        only = number if search.pool == "last_round" else None
        ranked = population.by_fitness(c for round, c in pool.values() if only in (None, round))
        parents = population.select(number, (c.id for c in ranked), parents, search)
        for name in population.leaving(number, parents, search):
            pool.pop(name, None)
        yield parents, [c.id for c in population.tuning_examples(number, children, parents, search)]


@given(st.lists(outcomes, min_size=1, max_size=4), rounds, searches)
def test_the_population_is_the_papers(
    seeds: list[Outcome], children: list[list[Outcome]], search: SearchConfig
) -> None:
    named_seeds = [evaluated(f"seed-{i}", outcome) for i, outcome in enumerate(seeds)]
    named = [[evaluated(f"r{t}s{i}", outcome) for i, outcome in enumerate(row)] for t, row in enumerate(children)]
    assert list(ours(named_seeds, named, search)) == list(paper(named_seeds, named, search))


@given(rounds, searches)
def test_the_result_is_get_top_of_all_that_was_scored(children: list[list[Outcome]], search: SearchConfig) -> None:
    named = [evaluated(f"r{t}s{i}", outcome) for t, row in enumerate(children) for i, outcome in enumerate(row)]
    found = population.best(population.by_fitness(c for c in named if c.fitness is not None), 3, search)
    scored = [c for c in named if c.error is not None and c.error < search.error_threshold]
    assert [c.fitness for c in found] == sorted((c.fitness for c in scored if c.fitness is not None), reverse=True)[:3]
    assert set(found) <= set(scored)


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_variants_draw_the_same_number_of_children(variant: str) -> None:
    search = SearchConfig(variant=variant)
    budget = Budget.of(search)
    assert budget.rounds * budget.per_round == 1600
    assert (budget.rounds, budget.prompts, budget.samples) == ((1, 10, 160) if variant == "naive" else (10, 10, 16))
    assert Budget.of(search.model_copy(update={"rounds": 0})).rounds == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_which_variants_tune(variant: str) -> None:
    assert population.is_tuned(SearchConfig(variant=variant)) == (variant in ("evoprompting", "random_parents"))


def test_the_fitness_is_that_of_figure_1() -> None:
    """Figure 1: an error of 0.09 at 6,000 parameters is fitter than one of 0.2 at 5,000."""
    assert (population.fitness(6000, 0.09), population.fitness(5000, 0.2)) == (-540.0, -1000.0)


@pytest.mark.parametrize(
    ("round", "tuned", "last"), [(0, [], None), (1, [0], 0), (3, [0, 1], 1), (1, [1, 2], None), (4, [0, 3, 4], 3)]
)
def test_the_tuning_goes_on_from_the_newest_adapter_before_it(round: int, tuned: list[int], last: int | None) -> None:
    assert population.adapter_to_continue(round, tuned) == last


@pytest.mark.parametrize(
    ("count", "keep", "left"),
    [(1, 0.1, 1), (2, 0.5, 1), (3, 0.5, 2), (5, 0.5, 3), (9, 0.33, 3), (10, 0.33, 3), (4, 0.01, 1)],
)
def test_the_fittest_share_is_promoted_whatever_its_error(count: int, keep: float, left: int) -> None:
    trained = [Child(f"c{number}", 0.99, -float(number)) for number in range(count)]
    assert population.promoted(reversed(trained), keep) == [child.id for child in trained[:left]]


def test_equals_are_promoted_by_id() -> None:
    assert population.promoted([Child(id, 0.1, -1.0) for id in "cab"], 0.6) == ["a", "b"]


@pytest.mark.parametrize(
    ("share", "evaluated", "enough"),
    [(0.7, 10, 7), (0.9, 160, 144), (0.01, 3, 1), (0.8, 3, 3), (0.3, 10, 3), (0.57, 100, 57), (1, 5, 5), (0.5, 0, 0)],
)
def test_a_round_may_close_at_its_share_but_not_the_seeds_nor_the_last(
    share: float, evaluated: int, enough: int
) -> None:
    search = SearchConfig(close_at=share, rounds=3)
    for round in (0, 1):
        assert [population.may_close(round, n, evaluated, search) for n in range(evaluated + 1)] == [
            n >= enough for n in range(evaluated + 1)
        ]
    for round in (SEED_ROUND, 2):
        assert population.may_close(round, evaluated, evaluated, search)
        assert not population.may_close(round, evaluated - 1, evaluated, search)


def test_the_outcome_of_who_is_late_is_known_after_the_last_round_that_closed_without_it() -> None:
    assert population.known_with([(0, "a"), (0, "b"), (2, "a"), (1, "a")]) == {"a": 3, "b": 1}
