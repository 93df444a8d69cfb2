from __future__ import annotations

import ast
import dataclasses

import pytest

from evohpc.config.evaluation import ScreeningConfig
from evohpc.config.prompt import PromptConfig
from evohpc.evolution import entry
from evohpc.evolution.code_hash import code_hash
from evohpc.evolution.prompts import Example, candidate_source, completion_target, few_shot_prompt
from evohpc.evolution.screening import screen
from evohpc.messages import Status, TaskInterface

CLASS = TaskInterface("t", "Model", "class Model(nn.Module):", "", ("math",), "accuracy")
FUNCTION = TaskInterface(
    "t", "priority", "def priority(item, bins):", "import math\n", ("math",), "excess", size_name="size"
)
PROGRAM = '''import math


def priority(item, bins):
    """Best fit."""
    return -(bins - item)


LATER = 1
'''


def digest(source: str) -> str:
    return code_hash(ast.parse(source), source)


@pytest.mark.parametrize(("task", "expected"), [(CLASS, "class Model"), (FUNCTION, "function priority")])
def test_the_header_tells_a_class_from_a_function(task: TaskInterface, expected: str) -> None:
    assert entry.named(task) == expected


def test_a_function_is_cut_out_without_what_follows_it() -> None:
    assert entry.code(PROGRAM, FUNCTION) == "\n".join(PROGRAM.split("\n")[3:6])


@pytest.mark.parametrize("source", ["class priority: pass", "async def priority(a, b): pass", "priority = lambda: 1"])
def test_nothing_else_of_that_name_is_the_function(source: str) -> None:
    with pytest.raises(ValueError, match="no function priority"):
        entry.code(source, FUNCTION)


def test_a_class_is_no_function_of_that_name() -> None:
    with pytest.raises(ValueError, match="no class Model"):
        entry.code("def Model(): pass", CLASS)


def test_a_function_is_screened_as_a_class_is() -> None:
    assert screen(PROGRAM, FUNCTION, ScreeningConfig()).status is Status.PENDING
    twice = screen(PROGRAM + PROGRAM, FUNCTION, ScreeningConfig())
    assert (twice.status, twice.detail) == (Status.SYNTAX, "defines function priority 2 times")
    other = screen(PROGRAM.replace("priority", "prefer"), FUNCTION, ScreeningConfig())
    assert other.detail == "defines function priority 0 times"


def test_a_prompt_shows_functions_and_ends_in_the_header() -> None:
    example = Example("c", PROGRAM, 48, 0.25)
    prompt = few_shot_prompt([example], [example], FUNCTION, PromptConfig(metric_factor=0.98))
    shown, asked = prompt.split("\n\n")
    assert shown == f"\"\"\"Metrics:\n{{'size': '48', 'excess': '0.250'}}\n\"\"\"\n{entry.code(PROGRAM, FUNCTION)}"
    assert asked == "\"\"\"Metrics:\n{'size': '43', 'excess': '0.245'}\n\"\"\"\ndef priority(item, bins):\n"


def test_a_completed_function_is_the_module_that_it_was_cut_from() -> None:
    _, completion = completion_target(Example("c", PROGRAM, 48, 0.25), FUNCTION, PromptConfig())
    source = candidate_source(completion, FUNCTION)
    assert entry.code(source, FUNCTION) == entry.code(PROGRAM, FUNCTION)
    assert digest(source) == digest(PROGRAM.replace("\n\nLATER = 1\n", ""))


def test_functions_that_differ_in_names_of_locals_are_the_same() -> None:
    loops = "def priority(item, bins):\n    best = [item - b for b in bins]\n    return best\n"
    assert digest(loops) == digest(loops.replace("best", "found").replace(" b ", " one ").replace("- b", "- one"))
    assert digest(loops) != digest(loops.replace("item - b", "b - item"))


def test_a_function_that_calls_itself_keeps_its_name() -> None:
    source = "def priority(item, bins):\n    return priority(item - 1, bins) if item else bins\n"
    assert digest(source) != digest(source.replace("return priority", "return other"))


@pytest.mark.parametrize(("name", "expected"), [("num_params", "4,800 parameters"), ("size", "size 4,800")])
def test_a_size_is_spoken_of_as_the_task_calls_it(name: str, expected: str) -> None:
    assert entry.sized(4800, dataclasses.replace(FUNCTION, size_name=name).size_name) == expected
