import pytest
from hypothesis import given
from hypothesis import strategies as st

from evohpc.report.pareto import pareto_front


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(1, 1)], [0]),
        ([(2, 1), (1, 2), (2, 2), (3, 0.5)], [1, 0, 3]),
        ([(1, 1), (1, 1), (1, 2), (2, 1)], [0]),
        ([(3, 1), (2, 1), (1, 1)], [2]),
    ],
)
def test_the_front_by_example(points: list[tuple[float, float]], front: list[int]) -> None:
    assert pareto_front(points) == front


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6))))
def test_the_front_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    front = [points[i] for i in pareto_front(points)]
    undominated = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}
    assert front == sorted(undominated)
