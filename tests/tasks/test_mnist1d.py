"""MNIST-1D: the data, the recipe, the paper's seeds."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from support.paths import MNIST1D_SEEDS as SEEDS
from torch import nn

from evohpc.tasks import mnist1d_data
from evohpc.tasks.mnist1d import Mnist1D

PUBLISHED = "0b2b548d14a498bf71ce4d5e7df61d47851b3e5dd7e7f581a1011383cb03467c"
"""sha256 of x of the published set as float32: 4000 training samples, then 1000 test samples."""
PUBLISHED_LABELS = "6feec4a017698c7fe237c8854cbd2e338c6dd5c16240f6fa79daefaaa129e169"
SIZES = {"mlp": 15210, "cnn": 5210, "gru": 5134, "large_cnn": 91082}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seed_model(name: str) -> nn.Module:
    namespace: dict[str, type[nn.Module]] = {}
    exec((SEEDS / f"{name}.py").read_text(), namespace)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return namespace["Model"]()


def test_the_data_is_the_published_set() -> None:
    x, y = mnist1d_data.make()
    assert hashlib.sha256(x.tobytes()).hexdigest() == PUBLISHED
    assert hashlib.sha256(y.tobytes()).hexdigest() == PUBLISHED_LABELS
    assert np.bincount(y).tolist() == [500] * 10


def test_the_split_is_random_complete_and_repeatable() -> None:
    task = Mnist1D()
    splits, again, other = task.prepare(0), task.prepare(0), task.prepare(1)
    assert splits.train["x"].shape == (3500, 40)
    assert {name: array.shape for name, array in splits.inputs.items()} == {"val": (500, 40), "test": (1000, 40)}
    assert {name: array.shape for name, array in splits.labels.items()} == {"val": (500,), "test": (1000,)}
    np.testing.assert_array_equal(splits.inputs["val"], again.inputs["val"])
    assert not np.array_equal(splits.inputs["val"], other.inputs["val"])
    x, _ = mnist1d_data.make()
    together = np.concatenate([splits.train["x"], splits.inputs["val"]])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(x[:4000], axis=0))


def test_fresh_samples_follow_from_the_secret_alone() -> None:
    task, published = Mnist1D(), Mnist1D(validate_on="published")
    splits, again, other = task.prepare(0, 1 << 100), task.prepare(1, 1 << 100), task.prepare(0, 1)
    assert (splits.inputs["fresh"].shape, splits.inputs["fresh"].dtype) == ((500, 40), np.float32)
    assert (splits.labels["fresh"].shape, splits.labels["fresh"].dtype) == ((500,), np.int64)
    np.testing.assert_array_equal(splits.inputs["fresh"], again.inputs["fresh"])
    assert not np.array_equal(splits.inputs["fresh"], other.inputs["fresh"])
    assert "fresh" not in published.prepare(0, 1).labels
    for name, array in task.prepare(0).labels.items():
        np.testing.assert_array_equal(array, splits.labels[name])


def test_fresh_samples_are_drawn_as_the_published_ones() -> None:
    x, y = mnist1d_data.make()
    fresh, labels = mnist1d_data.more(7, 5000)
    assert np.bincount(labels).tolist() == [500] * 10
    for digit in range(10):
        np.testing.assert_allclose(fresh[labels == digit].mean(0), x[y == digit].mean(0), atol=0.3)
        np.testing.assert_allclose(fresh[labels == digit].std(0), x[y == digit].std(0), atol=0.3)


def test_the_error_is_that_on_fresh_samples() -> None:
    truth = {**labels(), "fresh": (np.arange(500) + 3) % 10}
    fresh = np.eye(10, dtype=np.float32)[np.where(np.arange(500) < 100, truth["fresh"], (truth["fresh"] + 1) % 10)]
    score = Mnist1D(steps=100).score([{**logits(0.7), "fresh": fresh[::-1]}, {**logits(0.6), "fresh": fresh}], truth)
    assert score.error == pytest.approx(0.8)
    assert score.metrics == {
        "val_accuracy": 0.2,
        "test_accuracy": 0.6,
        "published_val_accuracy": 0.6,
    }
    assert (score.checkpoint, score.choice) == (1, {"best_step": 100.0})


@pytest.mark.parametrize("name", SIZES)
def test_seeds_have_the_paper_s_sizes(name: str) -> None:
    model = seed_model(name)
    assert model(torch.zeros(3, 40)).shape == (3, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == SIZES[name]


def test_every_seed_file_is_tested() -> None:
    assert {path.stem for path in SEEDS.glob("*.py")} == SIZES.keys()


def test_the_first_checkpoint_comes_before_any_step() -> None:
    task = Mnist1D(steps=25, eval_every=10)
    model = seed_model("mlp")
    rows = task.train(model, task.prepare(0).train, seed=0)
    first = next(rows)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert first["step"] == 0
    assert first["loss"] == pytest.approx(np.log(10), abs=0.3)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [row["step"] for row in rows] == [10, 20, 25]
    assert task.checkpoints == 4
    assert not torch.equal(before["out.weight"], model.state_dict()["out.weight"])


def test_training_repeats_exactly() -> None:
    task = Mnist1D(steps=20, eval_every=20)
    data = task.prepare(0).train
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        model = seed_model("cnn")
        assert len(list(task.train(model, data, seed=3))) == 2
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.slow
def test_the_mlp_learns_as_greydanus_reports() -> None:
    task = Mnist1D(steps=2000)
    splits = task.prepare(0)
    torch.manual_seed(0)
    model = seed_model("mlp")
    predictions = []
    for _ in task.train(model, splits.train, seed=0):
        predictions.append(task.predict(model.eval(), splits.inputs))
        model.train()
    score = task.score(predictions, splits.labels)
    assert 0.55 < score.metrics["val_accuracy"] < 0.75


def labels() -> dict[str, np.ndarray]:
    return {"val": np.arange(500) % 10, "test": np.arange(1000) % 10}


def logits(right: float) -> dict[str, np.ndarray]:
    """Predictions of which the first share `right` is right."""
    made = {}
    for name, truth in labels().items():
        guess = np.where(np.arange(len(truth)) < right * len(truth), truth, (truth + 1) % 10)
        made[name] = np.eye(10, dtype=np.float32)[guess]
    return made


def test_the_best_checkpoint_counts_and_the_first_of_equals() -> None:
    task = Mnist1D(steps=300, eval_every=100)
    score = task.score([logits(0.1), logits(0.7), logits(0.7), logits(0.4)], labels())
    assert score.error == pytest.approx(0.3)
    assert score.metrics == {"val_accuracy": 0.7, "test_accuracy": 0.7}
    assert (score.checkpoint, score.choice) == (1, {"best_step": 100.0})


def test_ties_are_wrong() -> None:
    flat = {name: np.ones_like(array) for name, array in logits(1).items()}
    assert Mnist1D().score([flat], labels()).error == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.pop("val"),
        lambda p: p.update(val=p["val"][:-1]),
        lambda p: p.update(val=p["val"].astype(np.float64)),
        lambda p: p.update(test=p["test"].T),
    ],
)
def test_other_shapes_are_refused(change: Callable[[Any], object]) -> None:
    predictions = logits(1)
    change(predictions)
    with pytest.raises(ValueError, match="must be float32"):
        Mnist1D().score([predictions], labels())


def test_the_fitness_is_the_paper_s() -> None:
    assert Mnist1D().fitness(6000, 0.09) == pytest.approx(-540)


@pytest.mark.parametrize("options", [{"steps": 0}, {"batch_size": -1}, {"eval_every": 0}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Mnist1D(**options)
