from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evohpc.config.search import SearchConfig
from evohpc.evolution.population import random_parents
from evohpc.evolution.prompts import draw_examples
from evohpc.evolution.randomness import Draw, generator
from evohpc.evolution.request import samples, tuning_seed
from evohpc.messages import SEED_ROUND, Sample

SEARCH = SearchConfig(seed=7)
PARENTS = list("abcde")
POOL = [f"r000p00s{i:03d}" for i in range(100)]


def draws(config: SearchConfig, round: int, prompt: int) -> tuple[object, ...]:
    return (
        draw_examples(PARENTS, config, round, prompt),
        samples(config, round, prompt, 16),
        random_parents(round, POOL[:30], config.survivors, config),
        tuning_seed(config, round),
    )


def test_a_draw_does_not_depend_on_what_ran_before() -> None:
    first = draws(SEARCH, 3, 7)
    for round in (9, 0, 3):
        for prompt in range(8):
            draws(SEARCH, round, prompt)
    assert draws(SEARCH, 3, 7) == first


def test_a_draw_does_not_depend_on_how_many_follow() -> None:
    assert samples(SEARCH, 3, 7, 16)[:5] == samples(SEARCH, 3, 7, 5)


def test_drawn_values_never_change() -> None:
    """A search of an older evohpc goes on as it began; numpy keeps these streams (NEP 19)."""
    assert [draw_examples(PARENTS, SEARCH, 0, i) for i in range(3)] == [["e", "e"], ["a", "c"], ["a", "a"]]
    assert samples(SEARCH, 2, 1, 1) == (Sample(0, 9130445663487072573, 0.2),)
    assert random_parents(5, POOL[:100], SEARCH.survivors, SEARCH) == [
        POOL[i] for i in (4, 21, 25, 36, 45, 64, 79, 82, 94, 96)
    ]
    assert tuning_seed(SEARCH, 1) == 7850136814421800578


@pytest.mark.parametrize("other", [(SearchConfig(seed=8), 3, 7), (SEARCH, 4, 7), (SEARCH, 3, 8)])
def test_other_places_and_seeds_draw_other_numbers(other: tuple[SearchConfig, int, int]) -> None:
    seeds = [sample.seed for sample in samples(SEARCH, 3, 7, 16)]
    assert not set(seeds) & {sample.seed for sample in samples(*other, 16)}
    assert len(set(seeds)) == 16


def test_kinds_of_draws_and_places_have_streams_of_their_own() -> None:
    places = [(SEED_ROUND, 0), (0, 0), (0, 1), (1, 0), (0, 0, 1), (0, 1, 0), (12, 0), (1, 20)]
    numbers = [int(generator(1, r, draw, *p).integers(2**63)) for draw in Draw for r, *p in places]
    assert len(set(numbers)) == len(numbers)


def test_examples_are_drawn_with_replacement_and_uniformly() -> None:
    """Algorithm 2: x_j iid ~ Uniform(P)."""
    drawn = [tuple(draw_examples(PARENTS, SEARCH, round, prompt)) for round in range(100) for prompt in range(10)]
    assert {len(pair) for pair in drawn} == {2}
    # 1000 pairs of 25 kinds: mean 40, standard deviation 6.2.
    counts = Counter(drawn)
    assert len(counts) == 25
    assert all(15 < count < 65 for count in counts.values())


def test_one_parent_is_enough() -> None:
    assert draw_examples(["a"], SearchConfig(examples_per_prompt=3), 0, 0) == ["a", "a", "a"]


def test_temperatures_are_drawn_uniformly_for_each_sample() -> None:
    drawn = [samples(SEARCH, round, prompt, 16) for round in range(10) for prompt in range(10)]
    counts = Counter(sample.temperature for row in drawn for sample in row)
    # 1600 of 4 kinds: mean 400, standard deviation 17.
    assert set(counts) == {0.2, 0.6, 0.8, 1.0}
    assert all(330 < count < 470 for count in counts.values())
    assert all(len({sample.temperature for sample in row}) > 1 for row in drawn)


def test_samples_know_their_place() -> None:
    assert [sample.index for sample in samples(SEARCH, 0, 0, 5)] == [0, 1, 2, 3, 4]


@given(st.integers(1, 40), st.integers(0, 60))
def test_random_parents_are_distinct_members_of_the_pool(survivors: int, size: int) -> None:
    drawn = random_parents(2, POOL[:size], survivors, SEARCH)
    assert len(set(drawn)) == len(drawn) == min(survivors, size)
    assert set(drawn) <= set(POOL[:size])
    assert drawn == random_parents(2, reversed(POOL[:size]), survivors, SEARCH)


def test_random_parents_are_drawn_uniformly() -> None:
    counts = Counter(
        name for round in range(500) for name in random_parents(round, POOL[:20], SEARCH.survivors, SEARCH)
    )
    # 500 rounds, 10 of 20: mean 250, standard deviation 11.
    assert len(counts) == 20
    assert all(200 < count < 300 for count in counts.values())
