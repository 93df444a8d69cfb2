"""A small task of programs, and an evaluator on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evohpc.config.search import load_config
from evohpc.evaluation import worker
from evohpc.evaluation.attempt import Evaluator
from evohpc.files import write_atomic
from evohpc.run_folder import RunDir
from evohpc.tasks.data import draw_secret, prepare

COUNT = 200
TASK = f"""
import numpy as np
from evohpc import Score, Splits, TaskInterface

class Remainders:
    '''Compute the remainder of a square, by 97.'''
    interface = TaskInterface(
        "remainders", "solve", "def solve(x):", "import math\\n", ("math",), "right", size_name="nodes"
    )
    def prepare(self, seed, secret=None):
        x = np.random.default_rng(seed if secret is None else secret).integers(1, 10**6, {COUNT})
        return Splits(train={{}}, inputs={{"x": x}}, labels={{"y": x * x % 97}})
    def run(self, module, inputs):
        return {{"y": np.asarray(module.solve(inputs["x"]))}}
    def rows(self, arrays):
        return {{name: ("", 0) for name in arrays}}
    def score(self, outputs, labels):
        if "y" not in outputs or outputs["y"].shape != labels["y"].shape:
            raise ValueError(f"'y' must be {{labels['y'].shape}}")
        right = float((outputs["y"] == labels["y"]).mean())
        return Score(1 - right, {{"right": right}})
"""
ROWS = '    def rows(self, arrays):\n        return {name: ("", 0) for name in arrays}\n'
HONEST = "def solve(x):\n    return x * x % 97\n"
CONFIG = """
task: remainders.py:Remainders
seeds: seeds
search: {rounds: 1, prompts_per_round: 2, samples_per_prompt: 4, survivors: 2}
lm: {engine: scripted}
evaluation: {time_limit_s: 60, memory_mb: 1500, disk_mb: 8, log_kb: 16}
"""


def write_project(folder: Path, task: str = TASK, seed: str = HONEST) -> Path:
    """Write a task, a seed and a config; return the config."""
    write_atomic(folder / "remainders.py", task)
    write_atomic(folder / "seeds" / "one.py", seed)
    write_atomic(folder / "config.yaml", CONFIG)
    return folder / "config.yaml"


def make_run(folder: Path, task: str = TASK) -> RunDir:
    """Return a prepared run folder without candidates."""
    run = RunDir(folder / "run")
    write_atomic(run.config, load_config(write_project(folder, task)).dump())
    write_atomic(run.provenance, '{"run_id": "programs"}')
    write_atomic(run.task_file, task)
    draw_secret(run)
    prepare(run)
    return run


@contextmanager
def evaluating(folder: Path, task: str = TASK) -> Iterator[Evaluator]:
    """Start an evaluator on a new run."""
    with worker.evaluator(make_run(folder, task)) as ready:
        yield ready
