"""What candidates are evaluated on, and what each of their stages may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.task_name import TaskName
from evohpc.evaluation.stage import protocol
from evohpc.run_folder import RunDir
from evohpc.sandbox.base import Limits

WORKER = "evohpc.evaluation.stage.main"
_TRAINING = 5
"""Key of these seeds, beside those of stages (trial.py) and tasks."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What candidates are evaluated on: files made by `Task.prepare`, and the task."""

    task: TaskName
    task_options: Mapping[str, Any]
    seed: int
    train: Path
    inputs: Path
    labels: Path
    config: EvaluationConfig

    def at(self, rung: int | None) -> Benchmark:
        """Return it as a candidate meets it that was trained so often before, at the rungs first; None for one that is
        trained once."""
        if rung is None:
            return self
        lower, is_reseeded = self.config.rungs, self.config.repeats and rung
        own = lower[rung].task_options if rung < len(lower) else {}
        if not own and not is_reseeded:
            return self
        seed = _seed(self.seed, rung) if is_reseeded else self.seed
        return replace(self, task_options={**self.task_options, **own}, seed=seed)


def _seed(seed: int, training: int) -> int:
    """Return the seed of a training that is not a candidate's first."""
    return int(np.random.SeedSequence(seed, spawn_key=(_TRAINING, training)).generate_state(1, "uint64")[0] >> 1)


def shared_files(run: RunDir) -> tuple[Path, ...]:
    """Return the files of a run that are inputs of all its candidates; the last is there if the task is a user's."""
    return run.train, run.inputs, run.task_file


def limits(config: EvaluationConfig, wall_s: float) -> Limits:
    """Return what a stage may use.

    Args:
        wall_s: what is left of the candidate's time, in seconds.
    """
    return Limits(
        wall_s=max(wall_s, 0.0),
        memory_bytes=config.memory_mb << 20,
        disk_bytes=config.disk_mb << 20,
        log_bytes=config.log_kb * 1024,
    )


def moved(task: TaskName) -> str:
    """Return a task's name as it is in IN of a stage."""
    return str(task.moved(Path(protocol.TASK_FILE)))
