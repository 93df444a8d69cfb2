"""The only stage of a candidate that is no network: it is run on inputs, and leaves arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors.numpy import save_file

from evohpc.evaluation.stage import protocol, stages
from evohpc.evaluation.stage.protocol import Order
from evohpc.evaluation.stage.stages import Progress
from evohpc.messages import Status
from evohpc.tasks.program import ProgramTask

_NUMBERS = "biuf"
"""Kinds of numpy's types that an array of outputs may have: bool, integers, floating-point numbers."""


def run(order: Order, inputs: Path, out: Path, progress: Progress) -> None:
    """Run a candidate on each batch of IN; leave what it makes of them in OUT/predictions/."""
    task = cast(ProgramTask, stages.prepare(order, inputs))
    batches = stages.batches_in(inputs)
    left = out / protocol.PREDICTIONS
    left.mkdir()
    with progress.step("build", Status.BUILD_ERROR):
        module = stages.imported(inputs / protocol.CANDIDATE)
    for number, batch in enumerate(batches):
        stages.seed_all(order.seed)  # each batch is run as if it stood alone
        with progress.step("run", Status.TRAIN_ERROR):
            outputs = task.run(module, batch)
        with progress.step("run", Status.SHAPE_ERROR):
            save_file(_arrays(outputs), left / protocol.prediction(0, number))


def _arrays(outputs: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Return outputs as they cross the border.

    Raises:
        TypeError: they are not arrays of numbers by name.
    """
    if not isinstance(outputs, Mapping):
        raise TypeError(f"`run` must return arrays by name; it returned a {type(outputs).__name__}")
    arrays = {str(name): np.asarray(array, order="C") for name, array in outputs.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in _NUMBERS:
            raise TypeError(f"output {name!r} has dtype {array.dtype}; it must be bool, integer or floating-point")
    return arrays
