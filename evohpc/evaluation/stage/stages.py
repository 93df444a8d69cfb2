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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors
from torch import nn
from torch.nn.parameter import is_lazy

from evohpc.config.task_name import TaskName
from evohpc.evaluation.stage import protocol
from evohpc.evaluation.stage.protocol import Order
from evohpc.messages import Status
from evohpc.tasks.base import Task, load_task


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


class Refused(Exception):
    """The candidate breaks a rule of the protocol."""


def train(order: Order, inputs: Path, out: Path, progress: Progress) -> None:
    """Train a candidate on IN/data.safetensors; leave its checkpoints in OUT/weights/."""
    task, data = _prepare(order, inputs)
    model = _build(task, inputs, progress)
    weights = out / protocol.WEIGHTS
    weights.mkdir()
    rows = task.train(model, data, order.seed)
    with progress.step("check", Status.SHAPE_ERROR):
        if (first := next(rows, None)) is None:
            raise RuntimeError("the task's `train` yields nothing, though it must before its first step")
        _keep(model, first, weights / _name(0), progress)
        _check_size(model, order.max_params)
    with progress.step("train", Status.TRAIN_ERROR):
        for number, row in enumerate(rows, start=1):
            _keep(model, row, weights / _name(number), progress)


def predict(order: Order, inputs: Path, out: Path, progress: Progress) -> None:
    """Predict from each checkpoint of IN/weights/; leave the predictions in OUT/predictions/."""
    task, data = _prepare(order, inputs)
    model = _build(task, inputs, progress)
    folder = out / protocol.PREDICTIONS
    folder.mkdir()
    with progress.step("predict", Status.TRAIN_ERROR):
        for path in sorted((inputs / protocol.WEIGHTS).iterdir()):
            _load(task, model, load_tensors(path), data)
            model.eval()
            _seed_all(order.seed)  # each checkpoint predicts as if it stood alone
            private = {name: array.copy() for name, array in data.items()}
            predictions = {name: np.ascontiguousarray(array) for name, array in task.predict(model, private).items()}
            save_file(predictions, folder / path.name)


def _prepare(order: Order, inputs: Path) -> tuple[Task, Mapping[str, np.ndarray[Any, Any]]]:
    torch.set_num_threads(order.threads)
    if torch.cuda.is_available():
        torch.use_deterministic_algorithms(True, warn_only=True)
    task = load_task(TaskName.parse(order.task).moved(inputs / protocol.TASK_FILE), order.task_options)
    data = load_file(inputs / protocol.DATA)
    _seed_all(order.seed)
    return task, data


def _seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _import(path: Path) -> ModuleType:
    """Execute a candidate's source as a module of its own."""
    module = ModuleType("candidate")
    module.__file__ = str(path)
    sys.modules["candidate"] = module
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module


def _build(task: Task, inputs: Path, progress: Progress) -> nn.Module:
    with progress.step("build", Status.BUILD_ERROR):
        return task.build(_import(inputs / protocol.CANDIDATE))


def _keep(model: nn.Module, curve: Mapping[str, Any], path: Path, progress: Progress) -> None:
    """Write one checkpoint; the task's values of the curve may be numbers of torch."""
    progress.last_row = row = {name: float(value) for name, value in curve.items()}
    wrong = [f"{name} is {value}" for name, value in row.items() if not math.isfinite(value)]
    state = _own_tensors(model)
    wrong += [f"{name} is not finite" for name, tensor in state.items() if not _is_finite(tensor)]
    if wrong:
        raise FloatingPointError(wrong[0])
    save_tensors({name: tensor.detach().clone().contiguous() for name, tensor in state.items()}, path)


def _own_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state dict with each shared tensor under its first name only, so that it counts once, and without
    the parameters of lazy modules that the model never calls."""
    return {names[0]: tensor for names, tensor in _groups(model) if not is_lazy(tensor)}


def _groups(model: nn.Module) -> list[tuple[list[str], torch.Tensor]]:
    groups: dict[int, tuple[list[str], torch.Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        groups.setdefault(id(tensor), ([], tensor))[0].append(name)
    return list(groups.values())


def _is_finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _check_size(model: nn.Module, limit: int) -> None:
    size = sum(tensor.numel() for tensor in _own_tensors(model).values())
    if size > limit:
        raise Refused(f"the model has {size} numbers, evaluation.max_params is {limit}")


def _load(task: Task, model: nn.Module, tensors: dict[str, torch.Tensor], data: Mapping[str, Any]) -> None:
    """Load a checkpoint, all of it. Lazy modules take their shapes from it; a model that makes its parameters in its
    first forward pass gets one."""
    if not set(tensors) <= {names[0] for names, _ in _groups(model)}:
        task.predict(model, data)
    groups = _groups(model)
    unused = {name for names, tensor in groups for name in names if is_lazy(tensor) and names[0] not in tensors}
    state = {name: tensors[names[0]] for names, _ in groups for name in names if names[0] in tensors}
    missing, _ = model.load_state_dict(state, strict=False)
    wrong = sorted({*tensors} - {*state}) or sorted({*missing} - unused)
    if wrong:
        raise Refused(f"the model, built again, does not have the same tensors: {wrong[0]}")


def _name(number: int) -> str:
    return f"{number:05d}.safetensors"
