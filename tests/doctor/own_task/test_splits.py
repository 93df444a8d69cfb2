from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from evohpc.config.search import Config
from evohpc.doctor.own_task import splits
from evohpc.run_folder import RunDir
from evohpc.tasks.base import Splits

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 3)), RNG.integers(0, 5, 20)
VAL = RNG.normal(size=(10, 3))
TRUTH = np.arange(10) % 3


class Told:
    """A task that makes the data that it is told; another number for each secret or call if it is asked to."""

    def __init__(self, inputs: Any, by_secret: bool = True, by_call: bool = False) -> None:
        self.inputs, self.by_secret, self.by_call, self.calls = inputs, by_secret, by_call, 0

    def prepare(self, seed: int, secret: int) -> Splits:
        self.calls += 1
        drawn = {"drawn": np.array([float(secret % 97) * self.by_secret, float(self.calls) * self.by_call])}
        return Splits({"x": X, "y": Y}, self.inputs, {"y": TRUTH, **drawn})


def found(folder: Path, task: Any) -> dict[str, str]:
    run = RunDir(folder)
    for path in (run.data, run.labels.parent):
        path.mkdir()
    run.secret.write_text("10")
    made = task.prepare(0, 16)
    for group, path in (("train", run.train), ("inputs", run.inputs), ("labels", run.labels)):
        save_file({k: np.ascontiguousarray(v) for k, v in getattr(made, group).items()}, path)
    config = Config(seeds=Path("s"), lm={"engine": "scripted"})
    return {f.check: f"{f.verdict}: {f.found}" for f in splits.examine(run, task, config)}


def test_sound_data_are_described(tmp_path: Path) -> None:
    answer = found(tmp_path, Told({"x": VAL}))
    assert answer.keys() == {"data", "labels"}
    assert "; inputs x float64 (10, 3); labels y int64 (10,), drawn float64 (2,); 0.0 MiB" in answer["data"]


@pytest.mark.parametrize(
    ("inputs", "check", "said"),
    [
        ({"x": VAL, "z": TRUTH}, "labels", "fault: inputs['z'] is labels['y'], which candidates predict from"),
        ({"x": np.c_[VAL, TRUTH]}, "labels", "fault: inputs['x'] has in column 3 labels['y']"),
        ({"x": X[:10]}, "validation split", "warning: 100% of inputs['x'] are in train['x'] too"),
    ],
)
def test_what_tells_the_labels_is_found(tmp_path: Path, inputs: Any, check: str, said: str) -> None:
    assert found(tmp_path, Told(inputs))[check].startswith(said)


def test_data_that_are_others_each_time_are_found(tmp_path: Path) -> None:
    answer = found(tmp_path, Told({"x": VAL}, by_call=True))
    assert answer["same data again"] == "fault: prepare makes other labels['drawn'] for the same seeds"


def test_a_secret_that_is_not_used_is_found(tmp_path: Path) -> None:
    answer = found(tmp_path, Told({"x": VAL}, by_secret=False))
    assert answer["secret"] == "warning: prepare takes it, and makes the same data whatever it is"
