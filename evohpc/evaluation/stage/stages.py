"""The two stages of a candidate, each in a process of its own that starts from its source.

Training leaves checkpoints; prediction rebuilds the model and loads them. What a model needs to predict must therefore
be in its state dict, where it is counted: numbers hidden in closures, attributes or files do not survive, and neither
does the first process's random state, for the second has another seed.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from evohpc.config.task_name import TaskName
from evohpc.evaluation.stage import gpu, protocol
from evohpc.evaluation.stage.protocol import Order
from evohpc.messages import Status
from evohpc.tasks.base import Task, load_task
from evohpc.tasks.data import read_arrays


@dataclass
class Progress:
    """How far a stage got: says what a failure is called."""

    fault: Status = Status.BUILD_ERROR
    seconds: dict[str, float] = field(default_factory=dict)
    last_row: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, fault: Status) -> Iterator[None]:
        """Time a step; call a failure in it `fault`."""
        self.fault = fault
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


T = TypeVar("T")
_NARROW = {1: torch.uint8, 2: torch.int16}
"""Integers as wide as numbers of so many bytes."""


class Refused(Exception):
    """The candidate breaks a rule of the protocol."""


def train(order: Order, inputs: Path, out: Path, progress: Progress) -> None:
    """Train a candidate on IN/data.safetensors; leave checkpoints in OUT/weights/. A `check` ends with the first."""
    task = prepare(order, inputs)
    data = read_arrays(inputs / protocol.DATA)
    model = _build(task, inputs, progress)
    weights = out / protocol.WEIGHTS
    weights.mkdir()
    rows = task.train(model, data, order.seed)
    with progress.step("check", Status.SHAPE_ERROR):
        if not isinstance(rows, Iterator):
            raise TypeError(f"the task's `train` returned {type(rows).__name__}; it must yield, as a generator does")
        if (first := next(rows, None)) is None:
            raise RuntimeError("the task's `train` yields nothing, though it must before its first step")
        _keep(model, first, weights / _name(0), progress)
        _check_size(model, order.max_params)
    if order.stage == "check":
        return
    with progress.step("train", Status.TRAIN_ERROR):
        for number, row in enumerate(rows, start=1):
            _keep(model, row, weights / _name(number), progress)


def predict(order: Order, inputs: Path, out: Path, progress: Progress) -> None:
    """Predict each batch from each checkpoint of IN/weights/; leave the predictions in OUT/predictions/."""
    task = prepare(order, inputs)
    batches = batches_in(inputs)
    model = _build(task, inputs, progress)
    left = out / protocol.PREDICTIONS
    left.mkdir()
    with progress.step("predict", Status.TRAIN_ERROR):
        for number, path in enumerate(sorted((inputs / protocol.WEIGHTS).iterdir())):
            _load(task, model, torch.from_numpy(np.fromfile(path, np.int32)), batches[0])
            model.eval()
            seed_all(order.seed)  # each checkpoint predicts as if it stood alone
            for batch, data in enumerate(batches):
                predictions = {
                    name: np.asarray(array, order="C") for name, array in _predict(task, model, data).items()
                }
                save_file(predictions, left / protocol.prediction(number, batch))


def save(order: Order, inputs: Path, out: Path, progress: Progress) -> None:
    """Leave the checkpoint in IN/weights/ as OUT/model.safetensors, with the names of the model's state dict."""
    task = prepare(order, inputs)
    model = _build(task, inputs, progress)
    with progress.step("predict", Status.TRAIN_ERROR):
        (path,) = (inputs / protocol.WEIGHTS).iterdir()
        _load(task, model, torch.from_numpy(np.fromfile(path, np.int32)), read_arrays(inputs / protocol.DATA))
        state = {name: value.detach().cpu() for name, value in model.state_dict().items() if not is_lazy(value)}
        # One name of a shared tensor does not do: `load_state_dict` wants each.
        save_tensors({name: value.contiguous().clone() for name, value in state.items()}, out / protocol.MODEL)
        progress.last_row = {protocol.PLAIN: float(_can_load(task.interface.entry, state))}


def _can_load(entry: str, state: dict[str, Tensor]) -> bool:
    """Say whether the class of a candidate takes no argument, and its state dict these tensors."""
    try:
        fresh = getattr(sys.modules["candidate"], entry)()
        fresh.load_state_dict(state)
    except Exception:
        return False
    return isinstance(fresh, nn.Module)


def probe(order: Order, inputs: Path, out: Path, progress: Progress) -> None:
    """Compute something on the device of the task; tell what memory of a GPU is free."""
    torch.set_num_threads(order.threads)
    task = load_task(TaskName.parse(order.task).moved(inputs / protocol.TASK_FILE), order.task_options)
    gpu.limit(order.gpu_share, _device_of(task))
    progress.last_row = gpu.compute(_device_of(task))


def _device_of(task: Task) -> str:
    return str(getattr(task, "device", "auto"))


def _predict(task: Task, model: nn.Module, data: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    found = task.predict(model, {name: array.copy() for name, array in data.items()})
    return dict(_by_name(found, "the task's `predict` returned", "arrays"))


def _by_name(found: Mapping[str, T], what: str, of: str) -> Mapping[str, T]:
    """Return what a user's task gave, if it is what was asked for."""
    if not isinstance(found, Mapping):
        raise TypeError(f"{what} {type(found).__name__}, not {of} by name: a dict")
    return found


def batches_in(inputs: Path) -> list[dict[str, np.ndarray[Any, Any]]]:
    """Return the batches that a candidate is given, one after the other."""
    folder = inputs / protocol.BATCHES
    files = sorted(folder.iterdir()) if folder.exists() else [inputs / protocol.DATA]
    return [read_arrays(path) for path in files]


def prepare(order: Order, inputs: Path) -> Task:
    """Load the task, and seed whatever draws random numbers."""
    torch.set_num_threads(order.threads)
    if torch.cuda.is_available():
        torch.use_deterministic_algorithms(True, warn_only=True)
    task = load_task(TaskName.parse(order.task).moved(inputs / protocol.TASK_FILE), order.task_options)
    gpu.limit(order.gpu_share, _device_of(task))
    seed_all(order.seed)
    return task


def seed_all(seed: int) -> None:
    """Seed whatever a candidate may draw random numbers from."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def imported(path: Path) -> ModuleType:
    """Execute a candidate's source as a module of its own."""
    module = ModuleType("candidate")
    module.__file__ = str(path)
    sys.modules["candidate"] = module
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module


def _build(task: Task, inputs: Path, progress: Progress) -> nn.Module:
    with progress.step("build", Status.BUILD_ERROR):
        model = task.build(imported(inputs / protocol.CANDIDATE))
        if not isinstance(model, nn.Module):
            raise TypeError(f"the task's `build` returned {type(model).__name__}, not an nn.Module")
        return model


def _keep(model: nn.Module, curve: Mapping[str, Any], path: Path, progress: Progress) -> None:
    """Write one checkpoint; the task's values of the curve may be numbers of torch."""
    numbers = _by_name(curve, "the task's `train` yielded", "numbers")
    progress.last_row = row = {name: float(value) for name, value in numbers.items()}
    wrong = [f"{name} is {value}" for name, value in row.items() if not math.isfinite(value)]
    tensors = _own_tensors(model)
    wrong += [f"{names[0]} is not finite" for names, tensor in tensors if _is_spoilt(tensor)]
    if wrong:
        raise FloatingPointError(wrong[0])
    torch.cat([_words(tensor) for _, tensor in tensors] or [torch.empty(0, dtype=torch.int32)]).numpy().tofile(path)


def _own_tensors(model: nn.Module) -> list[tuple[list[str], Tensor]]:
    """Return the tensors of the state dict in its order, each with all its names, so that a shared one counts once;
    without the parameters of lazy modules that the model never calls.

    Raises:
        Refused: something in it is no array of numbers.
    """
    groups: dict[int, tuple[list[str], Tensor]] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if (kind := _no_array(value)) is not None:
            raise Refused(f"{name} in the state dict is {kind}; a checkpoint takes dense tensors of numbers alone")
        groups.setdefault(id(value), ([], value))[0].append(name)
    return [(names, tensor) for names, tensor in groups.values() if not is_lazy(tensor)]


def _no_array(value: object) -> str | None:
    """Return what a value of a state dict is, if it is no array of numbers."""
    if not isinstance(value, Tensor):  # what get_extra_state returns may be anything
        return f"a {type(value).__name__}"
    if value.layout is not torch.strided:
        return f"a tensor of layout {value.layout}"
    if value.is_quantized or value.is_meta:
        return "a quantized tensor" if value.is_quantized else "a tensor without numbers (meta)"
    return None


def _words(tensor: Tensor) -> Tensor:
    """Return a tensor as int32 of shape (words,): a number of up to 32 bits takes a word, one of 64 bits two, a complex
    one those of its two parts."""
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    narrow = _NARROW.get(flat.element_size())
    return flat.view(torch.int32) if narrow is None else flat.view(narrow).to(torch.int32)


def _from_words(words: Tensor, like: Tensor) -> Tensor:
    """Undo `_words` for a tensor of the shape and type of another."""
    narrow = _NARROW.get(like.element_size())
    flat = words.clone() if narrow is None else words.to(narrow)  # a copy begins where wider numbers may
    return flat.view(like.dtype).reshape(like.shape)


def _size(tensors: list[tuple[list[str], Tensor]]) -> list[int]:
    """Return how many words each tensor takes."""
    return [tensor.numel() * max(1, tensor.element_size() // 4) for _, tensor in tensors]


def _is_spoilt(tensor: Tensor) -> bool:
    """Say whether training broke a tensor. A buffer may hold infinities: a mask of attention does."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return False
    good = torch.isfinite(tensor) if isinstance(tensor, nn.Parameter) else ~torch.isnan(tensor)
    return not bool(good.all())


def _check_size(model: nn.Module, limit: int) -> None:
    size = sum(_size(_own_tensors(model)))
    if size > limit:
        raise Refused(f"the model has {size} numbers, evaluation.max_params is {limit}")


def _load(task: Task, model: nn.Module, words: Tensor, data: Mapping[str, Any]) -> None:
    """Load a checkpoint, all of it, into the tensors that the model has when it is built again. A model that makes some
    in its first forward pass, as lazy modules do, gets one; and one more for those that it only has in training."""
    for is_training in (False, True):
        if sum(_size(_own_tensors(model))) != len(words):
            model.train(is_training)
            _predict(task, model, data)
    tensors = _own_tensors(model)
    _unfold(tensors)
    sizes = _size(tensors)
    if sum(sizes) != len(words):
        raise Refused(f"the model, built again, has {sum(sizes)} numbers, its checkpoint {len(words)}")
    parts = zip(tensors, torch.split(words, sizes), strict=True)
    state = {name: part for (names, like), own in parts for part in [_from_words(own, like)] for name in names}
    with torch.inference_mode():  # the pass above may have made inference tensors, which can be set here only
        model.load_state_dict(state, strict=False)


def _unfold(tensors: Iterable[tuple[Sequence[str], Tensor]]) -> None:
    """Give a tensor whose numbers share memory, e.g. an expanded buffer, memory for each: else torch copies none in."""
    for _, tensor in tensors:
        if any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)):
            with torch.inference_mode(tensor.is_inference()):
                tensor.data = tensor.detach().clone(memory_format=torch.contiguous_format)


def _name(number: int) -> str:
    return f"{number:05d}"
