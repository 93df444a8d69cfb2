"""The score in numpy."""

from typing import Any

import numpy as np
import pytest

from evohpc.tasks.clrs import metrics
from evohpc.tasks.clrs.features import Feature

MASK = Feature("m", "output", "node", "mask")
CLASS = Feature("c", "output", "node", "categorical", 3)
POINTER = Feature("p", "output", "node", "pointer")
ORDER = (Feature("o", "output", "node", "permutation_pointer"), Feature("o_mask", "output", "node", "mask_one"))


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


@pytest.mark.parametrize(
    ("predicted", "truth", "f1"),
    [
        ((1, 1, 0, 0), (1, 0, 1, 0), 0.5),
        ((1, 0, 1, 0), (1, 0, 1, 0), 1.0),
        ((0, 0), (0, 0), 1.0),
        ((0, 0), (1, 0), 0.0),
        ((1, 0), (0, 0), 0.0),
        ((1, 1, 1), (1, 1, -1), 1.0),
    ],
)
def test_f1_of_a_mask(
    predicted: tuple[int, int, int, int] | tuple[int, int, int] | tuple[int, int],
    truth: tuple[int, int, int, int] | tuple[int, int, int] | tuple[int, int],
    f1: float,
) -> None:
    assert metrics.score((MASK,), {"m": ints(*predicted)}, {"m": ints(*truth)}) == f1


def test_share_of_right_answers_leaves_out_what_is_masked() -> None:
    assert metrics.score((CLASS,), {"c": ints(0, 1, 2)}, {"c": ints(0, 2, -1)}) == 0.5


def test_score_is_the_mean_over_outputs() -> None:
    predicted = {"m": ints(1, 0), "p": ints(0, 1)}
    assert metrics.score((MASK, POINTER), predicted, {"m": ints(1, 0), "p": ints(1, 0)}) == 0.5


def test_truths() -> None:
    outputs = {
        "m": np.array([[1.0, 0, -1]]),
        "c": np.array([[[0.0, 1, 0], [0, 0, -1]]]),
        "o": np.array([[2, 0, 1]]),
        "o_mask": np.array([[0.0, 1, 0]]),
    }
    found = metrics.truths((MASK, CLASS, *ORDER), outputs)
    assert {name: array.tolist() for name, array in found.items()} == {
        "m": [[1, 0, -1]],
        "c": [[1, -1]],
        "o": [[2, 1, 1]],
    }
    assert {array.dtype for array in found.values()} == {np.dtype(np.int32)}


@pytest.mark.parametrize("predicted", [{}, {"p": ints(1)}, {"p": np.array([0.0, 1.0])}])
def test_wrong_shapes_are_refused(predicted: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"'p' must be int32 \(2,\), it is"):
        metrics.score((POINTER,), predicted, {"p": ints(0, 1)})
