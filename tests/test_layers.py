"""How the modules may depend on each other, and how large they may grow. Reads the source; imports nothing here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.rooms import LAYERS, MODULES, PACKAGE, imported, room, tree

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}

HEAVY = (
    "torch",
    "transformers",
    "peft",
    "deepspeed",
    "accelerate",
    "pandas",
    "bokeh",
    "matplotlib",
    "jax",
    "tensorflow",
)


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno
    return node.end_lineno - node.lineno + 1


def ids(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_module_has_its_layer() -> None:
    assert {room(path) for path in MODULES} == set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_imports_go_down_only(path: Path) -> None:
    me = room(path)
    wrong = {name for name in imported(path) if name != me and RANK.get(name, len(LAYERS)) >= RANK[me]}
    assert not wrong, f"{ids(path)} imports {', '.join(sorted(wrong))}, which is not below it"


def test_what_runs_in_containers_needs_little_of_evohpc() -> None:
    allowed = {"errors", "linux", "messages", "envelopes", "config", "run_folder", "files", "evolution"}
    for path in MODULES:
        if room(path) in ("lm", "tasks"):
            assert set(imported(path)) <= allowed | {room(path)}, ids(path)
        if path.is_relative_to(PACKAGE / "evaluation/stage"):
            assert set(imported(path)) <= allowed | {"tasks", "evaluation"}, ids(path)


def test_the_driver_side_starts_without_torch() -> None:
    """At run time, for what a module imports may itself import: one process loads all that runs on a login node."""
    names = [
        ".".join(("evohpc", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in MODULES
        if room(path) not in ("lm", "tasks", "__main__")
        and not any(path.is_relative_to(PACKAGE / heavy) for heavy in ("evaluation/stage", "report/figures"))
    ]
    script = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "evohpc.driver.driver" in loaded
    assert sorted(set(HEAVY) & set(loaded)) == []


def test_an_evaluation_image_has_what_a_stage_imports() -> None:
    """Of Python's packages an image has those of containers/eval-*.in, and no reader of configs."""
    script = (
        "import sys\nfor name in ('yaml', 'click', 'rich', 'sqlite_utils', 'submitit'): sys.modules[name] = None\n"
        "from evohpc.config.task_name import TaskName\nfrom evohpc.evaluation.stage import main\n"
        "from evohpc.tasks.base import load_task\n"
        "for name, options in {'mnist1d': {}, 'clrs': {'algorithm': 'bfs'}, 'clrs_transfer': {}}.items():\n"
        "    load_task(TaskName(name), options)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_modules_and_functions_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 300
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: lines(f) for f in functions if lines(f) > 40}
    assert not long


def test_most_functions_are_a_few_lines() -> None:
    lengths = sorted(
        lines(node) for path in MODULES for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)
    )
    assert lengths[len(lengths) // 2] < 10
    assert sum(length > 30 for length in lengths) <= 0.02 * len(lengths)


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_names_say_something(path: Path) -> None:
    nodes = [n for n in ast.walk(tree(path)) if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    names = [*(node.name for node in nodes), *path.relative_to(PACKAGE).with_suffix("").parts]
    assert not [name for name in names if re.search(r"utils?$|manager|helper|misc|^common", name, re.IGNORECASE)]


@pytest.mark.parametrize("path", [path for path in MODULES if path.stat().st_size], ids=ids)
def test_what_is_public_is_documented(path: Path) -> None:
    assert ast.get_docstring(tree(path))
    undocumented = [
        node.name
        for node in tree(path).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_" and not ast.get_docstring(node)
    ]
    assert not undocumented
