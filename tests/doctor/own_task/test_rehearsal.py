"""`evohpc check-task` on tasks of programs: a sound one, and with one mistake each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.command_line import call
from support.programming import ROWS, TASK, write_project

from evohpc.doctor.own_task.rehearsal import Rehearsal, Trained
from evohpc.messages import Candidate, Result, Status
from evohpc.tasks.base import Score

pytestmark = pytest.mark.usefixtures("unsynced")

SEED = "def solve(x):\n    return x * x % 97 * (x % 10 > 0)\n"


def check(folder: Path, capsys: pytest.CaptureFixture[str], task: str = TASK) -> tuple[int, str]:
    code, out, _ = call(capsys, "check-task", write_project(folder, task, SEED))
    return code, out


def test_a_sound_task_of_programs_has_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = check(tmp_path, capsys)
    assert code == 0, out
    assert "candidates define solve below 'def solve(x):'; prompts show right" in out
    assert "ok       data: train nothing; inputs x int64 (200,); labels y int64 (200,)" in out
    assert "nodes 15, fitness -" in out
    assert "checkpoint" not in out
    assert "--- a prompt ---\n\"\"\"Metrics:\n{'nodes': '15', 'right': '0." in out
    assert out.endswith("def solve(x):\n")


@pytest.mark.parametrize(
    ("error", "last", "said"),
    [
        (0.5, 3, "has error 0.5 both times"),
        (0.5, 4, "has error 0.5, then 0.5, of predictions that differ"),  # as chance may have it
        (0.25, 3, "has error 0.5, then 0.25"),
        (0.25, 4, "has error 0.5, then 0.25, of predictions that differ"),
    ],
)
def test_the_same_score_is_one_of_the_same_predictions(
    monkeypatch: pytest.MonkeyPatch, error: float, last: int, said: str
) -> None:
    first, again = (
        Trained(
            Candidate("seed-a", -1, 0, 0, (), 0.0, 0, SEED, "", Status.TRAINED, ""),
            Result("seed-a", 1, Status.TRAINED, error=wrong),
            *(1.0, 1.0, 0),
            [([{"y": np.array([1, 2, number])}], Score(wrong, {}))],
            "",
        )
        for wrong, number in ((0.5, 3), (error, last))
    )
    monkeypatch.setattr(Rehearsal, "evaluate", lambda *_: again)
    rehearsal = Rehearsal.__new__(Rehearsal)
    assert rehearsal.repeated(first, 1.0).found.endswith(said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('inputs={"x": x}', 'inputs={"x": x, "z": x * x % 97}', "FAULT    labels: inputs['z'] is labels['y']"),
        ('labels={"y"', 'labels={"x": x, "y"', "ok       labels: none of them stands among the inputs, but x, of the"),
        (
            "rng(seed if secret is None else secret)",
            "rng(seed)",
            "warning  secret: prepare takes it, and makes the same data whatever",
        ),
        ("rng(seed if secret is None else secret)", "rng()", "prepare makes other inputs['x'] for the same seeds"),
        ("raise ValueError(", "print(", "score raised KeyError: 'y' (/"),
        ("Score(1 - right", "Score(right", "is less error better?"),
        (ROWS, "    def fitness(self, size, error): return error\n", "higher is better"),
        ('module.solve(inputs["x"])', 'module.solve(inputs["z"])', "KeyError: 'z' (line 14 of the task)"),
        (
            'module.solve(inputs["x"])',
            'module.solve(inputs["x"]) * (np.random.default_rng().random(len(inputs["x"])) < 0.5)',
            "draw all that is random from torch, numpy or random, which are seeded",
        ),
        ('labels={"y": x * x % 97}', "labels={}", "score raised KeyError: 'y'"),
    ],
)
def test_a_mistake_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str) -> None:
    assert old in TASK
    _, out = check(tmp_path, capsys, TASK.replace(old, new))
    assert said in out
