"""What the evaluator and the worker in the sandbox say to each other; imports neither torch nor candidate code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

CANDIDATE, DATA, BATCHES, WEIGHTS, TASK_FILE = "candidate.py", "data.safetensors", "batches", "weights", "task.py"
"""Names in IN: the program, the arrays of the stage (or a folder of batches of them), the checkpoints, the user's task.

A folder of checkpoints has a file 00000, 00001, ... for each, of nothing but the model's numbers, 4 bytes each, in the
order of its state dict. Names, shapes and types come from the model that the source builds: a file with a header could
carry weights in it that nobody counts.
"""
REPORT, PREDICTIONS = "report.json", "predictions"
"""Names in OUT, besides WEIGHTS. Predictions are files in a folder, one for each checkpoint and batch: `prediction`."""
MODEL = "model.safetensors"
"""In OUT of the stage that saves a model."""
PLAIN = "plain"
"""In the last row of that stage's report: 1 if the program's class alone can load it."""
OK = "ok"


Kind = Literal["train", "check", "predict", "save", "run"]
"""What a candidate's process does: a network is trained and predicts, any other program is run. `check` ends after one
batch of training, `save` makes a checkpoint a file that others can load."""


@dataclass(frozen=True, slots=True)
class Order:
    """IN/order.json."""

    stage: Kind | Literal["probe"]
    """`probe` tries the device, without a candidate."""
    task: str
    """A `TaskName`; its file is the one in IN."""
    task_options: Mapping[str, Any]
    seed: int
    threads: int
    max_params: int
    gpu_share: float = 1.0
    """How much of a GPU's memory it may have; the others have theirs."""


@dataclass(frozen=True, slots=True)
class Report:
    """OUT/report.json: what the stage says of itself. Only its failures are believed, and its success never."""

    status: str
    """'ok', or the value of a `Status` that is the candidate's fault."""
    detail: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """By step: build, check, train; predict; run."""
    last_row: dict[str, float] = field(default_factory=dict)
    """The curve's last values, e.g. {'step': 8000, 'loss': 0.1}."""


def has_gpus() -> bool:
    """Say whether whoever started this process, Slurm as a rule, gave it GPUs; its stages inherit these variables."""
    names = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
    return any(os.environ.get(name, "") not in ("", "-1", "NoDevFiles") for name in names)


def prediction(checkpoint: int, batch: int) -> str:
    """Return the name of a file of predictions; sorted, those of a checkpoint stand together."""
    return f"{checkpoint:05d}-{batch:03d}"
