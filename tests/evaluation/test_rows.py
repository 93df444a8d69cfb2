"""Predictions in other batches, compared with those of all rows at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evohpc.errors import TaskCodeError
from evohpc.evaluation import rows
from evohpc.evaluation.rows import Split
from evohpc.evaluation.verdict import Failed
from evohpc.messages import Status, TaskInterface
from evohpc.tasks.base import Task

Arrays = dict[str, np.ndarray[Any, Any]]
Model = Callable[[Arrays], Arrays]


class Own:
    """A task with two groups of rows, one of which has its rows on its second axis in one array."""

    interface = TaskInterface("own", "Model", "class Model:", "", (), "accuracy")

    def rows(self, arrays: Arrays) -> dict[str, tuple[str, int]]:
        return {name: (name[0], 1 if name == "a_steps" else 0) for name in arrays}


class OfClasses(Own):
    """The same, compared by classes."""

    def answers(self, predictions: Arrays) -> Arrays:
        return {name: array.argmax(-1) for name, array in predictions.items()}


def cut(task: object, inputs: Arrays, seed: int = 1) -> Split | None:
    found: Task = task  # type: ignore[assignment]
    return rows.split(found, inputs, seed)


def some(a: int = 60, b: int = 80) -> Arrays:
    draw = np.random.default_rng(0)
    shapes = {"a": (a, 3), "a_steps": (2, a), "b": (b, 3)}
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def confirm(task: object, model: Model, again: Model | None = None, inputs: Arrays | None = None) -> Arrays:
    given = inputs or some()
    split = cut(task, given)
    assert split is not None
    models = {"confirm": model, "again": again or model}
    return rows.confirm(split, given, model(given), lambda name, batches: [models[name](batch) for batch in batches])


def linear(inputs: Arrays) -> Arrays:
    """Of whole numbers, whose sums are the same in whatever order a processor adds them."""
    return {name: np.rint(8 * inputs[name]) @ np.arange(12, dtype=np.float32).reshape(3, 4) for name in ("a", "b")}


@given(a=st.integers(2, 40), b=st.integers(2, 40), seed=st.integers(0, 2**128))
def test_every_row_is_in_one_batch(a: int, b: int, seed: int) -> None:
    split = cut(Own(), some(a, b), seed)
    assert split is not None
    batches = [batch for half in split.halves for batch in half]
    for group, count in (("a", a), ("b", b)):
        assert sorted(np.concatenate([batch[group] for batch in batches])) == list(range(count))
        assert all(len(batch[group]) > 0 for batch in batches)


@given(a=st.integers(2, 40), b=st.integers(2, 40))
def test_what_depends_on_its_row_alone_comes_back_in_order(a: int, b: int) -> None:
    inputs = some(a, b)
    found = confirm(Own(), linear, inputs=inputs)
    for name, expected in linear(inputs).items():
        np.testing.assert_array_equal(found[name], expected)


def test_the_halves_share_no_rows_and_some_rows_are_alone() -> None:
    split = cut(Own(), some())
    assert split is not None
    one, other = ({row for batch in half for row in batch["a"]} for half in split.halves)
    assert not one & other
    assert [len(batch["a"]) for batch in split.halves[0]] == [10, 1, 4, 7, 1, 7]


@pytest.mark.parametrize("task", [object(), type("NoRows", (), {"interface": Own.interface})()])
def test_a_task_that_does_not_tell_its_rows_is_not_cut(task: object) -> None:
    assert cut(task, some()) is None


def test_a_single_row_cannot_be_cut() -> None:
    assert cut(Own(), some(a=1)) is None


def without_mean(inputs: Arrays) -> Arrays:
    return linear({name: array - array.mean(0) if name in "ab" else array for name, array in inputs.items()})


def zero_when_alone(inputs: Arrays) -> Arrays:
    return {name: array * (len(array) > 1) for name, array in linear(inputs).items()}


@pytest.mark.parametrize("task", [Own(), OfClasses()], ids=["numbers", "classes"])
@pytest.mark.parametrize("model", [without_mean, zero_when_alone])
def test_what_depends_on_other_rows_is_refused(task: object, model: Model) -> None:
    with pytest.raises(Failed, match="depend on the rows beside it, their number or their order: ") as caught:
        confirm(task, model)
    assert caught.value.status is Status.PROTOCOL_VIOLATION


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_numbers_too_large_to_be_compared_hide_nothing(kind: type[np.floating[Any]]) -> None:
    largest = np.finfo(kind).max

    def at_the_ends(model: Model) -> Model:
        return lambda inputs: {name: np.where(array > 0, largest, -largest) for name, array in model(inputs).items()}

    confirm(Own(), at_the_ends(linear))
    with pytest.raises(Failed, match="depend on the rows"):
        confirm(Own(), at_the_ends(without_mean))


def noisy(model: Model, seed: int, size: float) -> Model:
    draw = np.random.default_rng(seed)

    def drawn(inputs: Arrays) -> Arrays:
        found = model(inputs).items()
        return {name: array + np.float32(size) * draw.normal(size=array.shape) for name, array in found}

    return drawn


def test_a_model_that_draws_random_numbers_may_differ_as_it_does_by_itself() -> None:
    confirm(OfClasses(), noisy(linear, 1, 5), noisy(linear, 2, 5))


@pytest.mark.parametrize("size", [0.01, 0.1])
def test_a_little_noise_hides_nothing(size: float) -> None:
    with pytest.raises(Failed, match="depend on the rows"):
        confirm(OfClasses(), noisy(without_mean, 1, size), noisy(without_mean, 2, size))


def test_rounding_is_no_difference() -> None:
    confirm(Own(), noisy(linear, 1, 1e-4), linear)


def shapes(change: Callable[[Arrays], Arrays]) -> Model:
    return lambda inputs: linear(inputs) if len(inputs["a"]) > 7 else change(linear(inputs))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: {"a": found["a"]}, "predicts b in some batches only"),
        (lambda found: {**found, "a": found["a"][0]}, r"'a' has shape \(4,\) for a batch of 1"),
        (lambda found: {**found, "a": found["a"].astype(float)}, "'a' has another shape or dtype in another batch"),
        (lambda found: {**found, "a": found["a"][:, :2]}, "'a' has another shape or dtype in another batch"),
        (lambda found: {**found, "c": found["a"]}, "predicts c in some batches only"),
    ],
)
def test_another_shape_is_named(change: Callable[[Arrays], Arrays], said: str) -> None:
    with pytest.raises(Failed, match=f"{said}, though not in the whole split") as caught:
        confirm(Own(), shapes(change))
    assert caught.value.status is Status.SHAPE_ERROR


def test_what_is_finite_in_the_whole_split_alone_depends_on_it() -> None:
    def fails(name: str, batches: list[Arrays]) -> list[Arrays]:
        raise Failed(Status.NONFINITE, "a is nan")

    split = cut(Own(), some())
    assert split is not None
    with pytest.raises(Failed, match=r"depend on the rows beside it.*: a is nan") as caught:
        rows.confirm(split, some(), linear(some()), fails)
    assert caught.value.status is Status.PROTOCOL_VIOLATION


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"a": ("", 0)}, "rows names a, the inputs are a, a_steps, b"),
        ({"a": ("", 0), "a_steps": ("", 0), "b": ("b", 0)}, r"rows puts arrays of \[2, 60\] rows into the group ''"),
        ({"a": ("", 0), "a_steps": ("", 5), "b": ("b", 0)}, r"rows says axis 5 of a_steps, which has shape \(2, 60\)"),
        ({"a": "", "a_steps": ("", 1), "b": ("b", 0)}, "rows raised ValueError"),
        (None, "rows raised AttributeError"),
    ],
)
def test_rows_that_do_not_fit_are_the_task_s(told: object, said: str) -> None:
    task = type("Wrong", (Own,), {"rows": lambda self, arrays: told})()
    with pytest.raises(TaskCodeError, match=f"task own: {said}"):
        cut(task, some())


@pytest.mark.parametrize("more", [("a",), ("a", "b", "c")])
def test_rows_that_do_not_fit_what_is_predicted_are_the_task_s(more: tuple[str, ...]) -> None:
    def told(self: object, arrays: Arrays) -> dict[str, tuple[str, int]]:
        return Own().rows(arrays) if "a_steps" in arrays else dict.fromkeys(more, ("a", 0))

    task = type("Wrong", (Own,), {"rows": told})()
    with pytest.raises(TaskCodeError, match=f"task own: rows names {', '.join(more)}, the predictions are a, b"):
        confirm(task, linear)


@pytest.mark.parametrize(
    ("answered", "said"),
    [
        (lambda predictions: predictions["logits"], "answers raised KeyError: 'logits'"),
        (lambda predictions: predictions["a"], "answers raised AttributeError: 'numpy.ndarray' object has no"),
        (lambda predictions: None, "answers raised AttributeError: 'NoneType' object has no"),
        (lambda predictions: {"a": [[1], [1, 2]]}, "answers raised ValueError"),
    ],
)
def test_answers_that_fail_are_the_task_s(answered: Callable[[Arrays], object], said: str) -> None:
    task = type("Wrong", (Own,), {"answers": lambda self, predictions: answered(predictions)})()
    with pytest.raises(TaskCodeError, match=f"task own: {said}"):
        confirm(task, linear)


def test_answers_may_be_lists() -> None:
    task = type("Lists", (Own,), {"answers": lambda self, found: {"a": found["a"].argmax(1).tolist()}})()
    confirm(task, linear)
