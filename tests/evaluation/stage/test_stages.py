"""What a task of the user's own may do in a stage."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from support.evaluating import HONEST

from evohpc.evaluation.stage import protocol, stages
from evohpc.evaluation.stage.protocol import Order
from evohpc.evaluation.stage.stages import Progress
from evohpc.messages import Status

TASK = """
import torch
from evohpc.messages import TaskInterface

class Own:
    interface = TaskInterface("own", "Model", "class Model:", "", ("torch",), "accuracy")
    def prepare(self, seed): ...
    def build(self, module): return module.Model()
    def train(self, model, data, seed):
        loss = model(torch.from_numpy(data["x"])).sum()
        YIELD
    def predict(self, model, inputs): ...
    def score(self, predictions, labels): ...
    def fitness(self, num_params, error): ...
"""


def train(folder: Path, statement: str, progress: Progress | None = None, *, built: str = "module.Model()") -> Progress:
    (folder / protocol.TASK_FILE).write_text(TASK.replace("YIELD", statement).replace("module.Model()", built))
    (folder / protocol.CANDIDATE).write_text(HONEST)
    save_file({"x": np.ones((2, 3), dtype=np.float32)}, folder / protocol.DATA)
    out, progress = folder / "out", progress or Progress()
    out.mkdir()
    stages.train(Order("train", f"{protocol.TASK_FILE}:Own", {}, 0, 1, 1000), folder, out, progress)
    return progress


def test_a_curve_may_hold_numbers_of_torch(tmp_path: Path) -> None:
    progress = train(tmp_path, 'yield {"loss": loss.detach(), "step": 0}')
    assert {name: type(value) for name, value in progress.last_row.items()} == {"loss": float, "step": float}


def test_a_training_that_yields_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="`train` yields nothing, though it must before its first step"):
        train(tmp_path, "return; yield")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("return None", "the task's `train` returned NoneType; it must yield, as a generator does"),
        ("return [{}]", "the task's `train` returned list; it must yield, as a generator does"),
        ("yield {}; yield", "the task's `train` yielded NoneType, not numbers by name: a dict"),
        ("yield 'low'", "the task's `train` yielded str, not numbers by name: a dict"),
    ],
)
def test_what_a_training_must_not_give_is_named(statement: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=re.escape(reason)):
        train(tmp_path, statement)


def test_a_training_that_is_no_generator_is_no_failure_to_build(tmp_path: Path) -> None:
    progress = Progress()
    with pytest.raises(TypeError, match="must yield"):
        train(tmp_path, "return None", progress)
    assert progress.fault is Status.SHAPE_ERROR


def test_what_a_task_must_not_build_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"the task's `build` returned type, not an nn\.Module"):
        train(tmp_path, "yield {}", built="module.Model")


@pytest.mark.parametrize(("returned", "kind"), [("...", "NoneType"), ("return inputs['x']", "ndarray")])
def test_what_a_prediction_must_not_be_is_named(returned: str, kind: str, tmp_path: Path) -> None:
    train(tmp_path, "yield {}")
    (tmp_path / "out" / protocol.WEIGHTS).rename(tmp_path / protocol.WEIGHTS)
    task = (tmp_path / protocol.TASK_FILE).read_text()
    (tmp_path / protocol.TASK_FILE).write_text(
        task.replace("predict(self, model, inputs): ...", f"predict(self, model, inputs): {returned}")
    )
    order = Order("predict", f"{protocol.TASK_FILE}:Own", {}, 0, 1, 1000)
    reason = f"the task's `predict` returned {kind}, not arrays by name: a dict"
    with pytest.raises(TypeError, match=re.escape(reason)):
        stages.predict(order, tmp_path, tmp_path / "out", Progress())


def test_a_curve_of_words_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    progress = Progress(Status.SHAPE_ERROR)
    with pytest.raises(ValueError, match="could not convert string to float: 'low'"):
        stages._keep(torch.nn.Linear(1, 1), {"loss": "low"}, tmp_path / "w", progress)
    assert progress.last_row == {}, "or its report could not be written"


REAL = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int8, torch.bool]


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("shape", [(), (3, 5), (0, 2)])
def test_a_tensor_comes_back_from_its_words(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.randn(shape, dtype=torch.float64) * 100).to(dtype)
    words = stages._words(tensor)
    assert words.dtype is torch.int32
    assert (
        [len(words)] == stages._size([(["w"], tensor)]) == [tensor.numel() * (2 if tensor.element_size() == 8 else 1)]
    )
    again = stages._from_words(torch.cat([torch.zeros(1, dtype=torch.int32), words])[1:], like=torch.empty_like(tensor))
    assert again.dtype is dtype
    assert torch.equal(again, tensor)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_a_complex_number_takes_the_words_of_its_two_parts(dtype: torch.dtype) -> None:
    tensor = torch.randn(3, 5, dtype=torch.complex128).conj().to(dtype)
    words = stages._words(tensor)
    assert [len(words)] == stages._size([(["w"], tensor)]) == [15 * tensor.element_size() // 4]
    assert torch.equal(stages._from_words(words, like=torch.empty_like(tensor)), tensor)


INFINITE, NAN = torch.tensor([float("-inf"), 1.0]), torch.tensor([float("nan"), 1.0])


@pytest.mark.parametrize(
    ("tensor", "is_spoilt"),
    [
        (INFINITE, False),
        (NAN, True),
        (torch.nn.Parameter(INFINITE), True),
        (torch.nn.Parameter(torch.complex(torch.ones(2), INFINITE)), True),
        (torch.complex(NAN, torch.ones(2)), True),
        (torch.tensor([1]), False),
    ],
)
def test_a_mask_of_infinities_is_no_spoilt_weight(tensor: torch.Tensor, is_spoilt: bool) -> None:
    assert stages._is_spoilt(tensor) == is_spoilt


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.eye(2).to_sparse(), "a tensor of layout torch.sparse_coo"),
        (torch.empty(2, device="meta"), "a tensor without numbers (meta)"),
        ({"step": 1}, "a dict"),
    ],
)
def test_what_no_checkpoint_takes_is_refused_in_words(value: object, kind: str) -> None:
    class Model(torch.nn.Module):
        def get_extra_state(self) -> object:
            return value

        def set_extra_state(self, state: object) -> None: ...

    message = re.escape(f"_extra_state in the state dict is {kind}; a checkpoint takes dense tensors of numbers alone")
    with pytest.raises(stages.Refused, match=message):
        stages._own_tensors(Model())
