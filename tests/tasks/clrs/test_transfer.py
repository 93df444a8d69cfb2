"""Many algorithms as one task."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from support.clrs.clrs_candidates import PROCESSORS, SEEDS, load_candidate

from evohpc.config.task_name import TaskName
from evohpc.errors import TaskError
from evohpc.tasks.base import Splits, load_task
from evohpc.tasks.clrs.task import Clrs30
from evohpc.tasks.clrs.transfer import Transfer

TINY: dict[str, Any] = {"steps": 2, "hidden": 8, "samples": 2, "eval_every": 1, "batch_size": 2}


def assigned(algorithm: str, repeat: int = 0) -> ModuleType:
    module = load_candidate(SEEDS / "v1_standard.py")
    module.__dict__.update(ALGORITHM=algorithm, REPEAT=repeat)
    return module


def trained(task: Transfer, algorithm: str, repeat: int = 0) -> tuple[Any, list[dict[str, float]]]:
    torch.manual_seed(5)
    model = task.build(assigned(algorithm, repeat))
    rows = list(task.train(model, {}, 5))
    return model, rows


@pytest.fixture(scope="module")
def task() -> Transfer:
    return Transfer(algorithms=["bfs", "segments_intersect"], **TINY)


@pytest.fixture(scope="module")
def splits(task: Transfer) -> Splits:
    return task.prepare(0)


def test_each_algorithm_is_tested_as_the_task_of_it_alone_does(task: Transfer, splits: Splits) -> None:
    for name in ("bfs", "segments_intersect"):
        model, _ = trained(task, name)
        predictions = task.predict(model, splits.inputs)
        found = task.score([predictions], splits.labels)
        alone = Clrs30(algorithm=name, evaluate_on="test", **TINY)
        own = alone.prepare(0)
        expected = alone.score([alone.predict(model, own.inputs)], own.labels)
        assert found.metrics == {"test_accuracy": expected.metrics["test_accuracy"], name: 1 - found.error}
        assert found.error == expected.error


def test_the_default_is_the_published_recipe_on_all_algorithms() -> None:
    task = Transfer()
    assert len(task.tasks) == 30
    bfs = task.tasks["bfs"]
    assert (bfs.steps, bfs.weight_decay, bfs.hidden, bfs.evaluate_on) == (10_000, 0.0, 128, "test")
    assert task.interface.metric == "test_accuracy"


def test_repeats_draw_their_own_weights_and_data_and_one_repeat_always_the_same(task: Transfer) -> None:
    def weights(repeat: int) -> tuple[Any, Any]:
        model, rows = trained(task, "bfs", repeat)
        return rows, model.state_dict()

    (rows, first), (again, same), (others, other) = weights(0), weights(0), weights(1)
    assert rows == again
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert rows[0]["loss"] != others[0]["loss"]
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_whole_processors_can_be_transferred() -> None:
    task = Transfer(algorithms=["bfs"], searched="processor", **TINY)
    assert task.interface.entry == "Processor"
    module = load_candidate(PROCESSORS / "p3_gru.py")
    module.__dict__.update(ALGORITHM="bfs", REPEAT=0)
    splits, model = task.prepare(0), task.build(module)
    assert list(task.train(model, splits.train, 5))
    score = task.score([task.predict(model.eval(), splits.inputs)], splits.labels)
    assert score.metrics["bfs"] == score.metrics["test_accuracy"] == pytest.approx(1 - score.error, abs=1e-6)


def test_labels_of_one_algorithm_do_not_score_answers_to_another(task: Transfer, splits: Splits) -> None:
    answers = {f"bfs.{name}": array for name, array in task.predict(*_of_bfs(task, splits)).items()}
    with pytest.raises(ValueError, match="answers one algorithm of the task, not none"):
        task.score([{}], splits.labels)
    forged = {name.replace("bfs.bfs.", "segments_intersect."): array for name, array in answers.items()}
    with pytest.raises(ValueError, match="intersect"):
        task.score([forged], splits.labels)
    with pytest.raises(ValueError, match="not bfs, segments_intersect"):
        task.score([{"bfs.pi": np.zeros(1), "segments_intersect.intersect": np.zeros(1)}], splits.labels)


def _of_bfs(task: Transfer, splits: Splits) -> tuple[Any, Any]:
    model, _ = trained(task, "bfs")
    return model, splits.inputs


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"algorithms": ["sort"]}, "algorithm is 'sort', it must be one of"),
        ({"algorithm": "bfs"}, "algorithm is none of its options; it has `algorithms`"),
        ({"algorithms": ["bfs"], "stepz": 3}, "there is no stepz; did you mean steps?"),
        ({"algorithms": ["bfs"], "steps": 0}, "steps is 0, it must be above 0"),
        ({"algorithms": ["bfs"], "steps": 2.5}, "steps: input should be a valid integer"),
        ({"algorithms": ["bfs"], "hidden": True}, "hidden: input should be a number; it is true"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        load_task(TaskName("clrs_transfer"), options)


def test_options_of_the_recipe_are_read_as_those_of_a_search() -> None:
    task = load_task(TaskName("clrs_transfer"), {"algorithms": ["bfs"], "steps": 1000.0, "sizes": [4, 5.0]})
    assert isinstance(task, Transfer)
    assert repr((task.tasks["bfs"].steps, task.tasks["bfs"].sizes)) == "(1000, (4, 5))"
