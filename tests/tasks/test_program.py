"""Which tasks are of programs, what is wrong with one, and how large a program is."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.programming import HONEST, ROWS, TASK, make_run, write_project

from evohpc.config.search import load_config
from evohpc.config.task_name import TaskName
from evohpc.errors import TaskError
from evohpc.tasks.base import Task, hidden_modules, load_task
from evohpc.tasks.data import interface, read_arrays
from evohpc.tasks.program import is_program, syntax_nodes

TRAINING = "    def build(self, module): ...\n    def train(self, model, data, seed): ...\n"
PREDICTING = "    def predict(self, model, inputs): ...\n    def fitness(self, num_params, error): ...\n"


def load(folder: Path, source: str) -> Task:
    file = folder / "task.py"
    file.write_text(source)
    return load_task(TaskName("Remainders", file), {})


def test_a_task_with_run_is_one_of_programs(tmp_path: Path) -> None:
    task = load(tmp_path, TASK)
    assert is_program(task)
    assert task.interface.entry == "solve"
    assert task.fitness(10, 0.5) == -5
    assert not is_program(load_task(TaskName("mnist1d"), {}))


def test_a_task_that_trains_may_have_a_method_run(tmp_path: Path) -> None:
    assert not is_program(load(tmp_path, TASK + TRAINING + PREDICTING))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("def score", "def scored", "Remainders is no ProgramTask: it lacks score"),
        (
            "def run",
            "def runs",
            "it lacks build, train, predict, fitness; of programs that are no networks a ProgramTask",
        ),
        (
            "def run(self, module, inputs)",
            "def run(self, inputs)",
            "run is called as run(module, inputs), and is defined",
        ),
        (ROWS, "    def size(self, source): return 1\n", "size is called as size(source, seconds), and is defined as"),
        (ROWS, "    def fitness(self): return 1\n", "fitness is called as fitness(size, error), and is defined as"),
        (ROWS, "    hidden_modules = {'predict': ('a',)}\n", "must name modules by stage, as {'run': ('my_package."),
        ('"def solve(x):"', '"def solve(x)"', "must begin the class or function solve and end in a colon"),
        ('size_name="nodes"', 'size_name=""', "interface.size_name must name what prompts show"),
        ('size_name="nodes"', 'size_name="right"', "metric and interface.size_name are both 'right'"),
        ('size_name="nodes"', "size_name=3", "interface.size_name must be text; it is 3"),
    ],
)
def test_what_is_wrong_with_a_task_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TASK
    with pytest.raises(TaskError) as caught:
        load(tmp_path, TASK.replace(old, new))
    assert said in str(caught.value)


def test_data_to_train_on_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="prepare returns train data, which no program would get"):
        make_run(tmp_path, TASK.replace("train={}", 'train={"x": x}'))


def test_inputs_and_answers_lie_apart_and_the_driver_knows_the_interface(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert read_arrays(run.inputs).keys() == {"x"}
    assert read_arrays(run.labels).keys() == {"y"}
    assert read_arrays(run.train) == {}
    assert (interface(run).entry, interface(run).size_name) == ("solve", "nodes")


def test_modules_are_hidden_from_its_only_stage(tmp_path: Path) -> None:
    task = load(tmp_path, TASK.replace(ROWS, ROWS + "    hidden_modules = {'run': ('a.b',)}\n"))
    assert hidden_modules(task, "run") == ("a.b",)


def test_a_config_names_such_a_task_as_any_other(tmp_path: Path) -> None:
    config = load_config(write_project(tmp_path))
    assert is_program(load_task(config.task, config.task_options))


@pytest.mark.parametrize(
    ("source", "nodes"),
    [
        ("", 0),
        (HONEST, 9),
        ("import math\nfrom math import sin\n" + HONEST, 9),
        (HONEST.replace("    return", '    """Why."""\n    return'), 9),
        ("x = -1", 4),
        ("x = 12345678", 3),
        ("x = 123456789", 4),
        ("x = 'abcdef'", 3),
        ("x = 'abcdefg'", 4),
        (f"x = 0x{'f' * 64}", 12),
        (f"{'x' * 32} = 1", 3),
        (f"{'x' * 41} = 1", 5),
        (f"f({'x' * 48}=1)", 7),
        (f"class {'x' * 40}: pass", 2),
        (f"import math as {'x' * 40}", 1),
        (f"from math import sin as {'x' * 40}", 1),
        (f"import {'x' * 40}", 0),
        ("import math as a, math as b\nglobals()", 6),
        ("import math as a, math as b\nlook = vars\nlook()", 9),
        (HONEST.replace("    return", '    """Why, at 20 bytes."""\n    __doc__\n    return'), 15),
    ],
)
def test_nodes_are_counted(source: str, nodes: int) -> None:
    assert syntax_nodes(source) == nodes


def test_neither_layout_nor_names_change_the_number_of_nodes() -> None:
    assert syntax_nodes(HONEST.replace("x", "a_long_name") + "\n\n# why\n") == syntax_nodes(HONEST)
