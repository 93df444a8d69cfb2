from __future__ import annotations

import pytest

from evohpc.config.evaluation import ScreeningConfig
from evohpc.doctor.own_task import programs
from evohpc.evolution.screening import seeds
from evohpc.messages import TaskInterface

TASK = TaskInterface("t", "Model", "class Model(nn.Module):", "import torch.nn as nn\n", ("torch", "math"), "acc")
CLASS = "class Model(nn.Module):\n    def forward(self, x):\n        return x\n"


def found(source: str, task: TaskInterface = TASK) -> list[str]:
    (seed,) = seeds({"a": source}, task, ScreeningConfig())
    return [f"{finding.verdict}: {finding.found}" for finding in programs.examine(seed, task)]


def test_a_class_below_imports_is_all_that_children_see() -> None:
    assert found(f'"""A seed."""\nimport torch.nn as nn\n\n\n{CLASS}') == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (f"WIDTH = 3\n{CLASS}", "warning: code beside class Model (line 1): prompts show that alone"),
        (f"{CLASS}\nclass Block(nn.Module):\n    pass\n", "warning: code beside class Model (line 5)"),
        (f"import math\nimport torch.nn as nn\n{CLASS}", "warning: it imports math, which interface.prelude does not"),
        (f"import os\n{CLASS}", "warning: screening refuses it: line 1: imports os"),
        ("class Net:\n    def f(self): ...\n", "fault: screening refuses it: defines class Model 0 times"),
    ],
)
def test_what_children_will_miss_is_found(source: str, said: str) -> None:
    answers = found(source)
    assert len(answers) == 1
    assert answers[0].startswith(said)


def test_code_beside_a_function_is_found() -> None:
    task = TaskInterface("t", "rank", "def rank(x):", "", (), "acc")
    assert found("def rank(x):\n    return x\n", task) == []
    (said,) = found("def rank(x):\n    return half(x)\n\n\ndef half(x):\n    return x / 2\n", task)
    assert said.startswith("warning: code beside function rank (line 5): prompts show that alone")
