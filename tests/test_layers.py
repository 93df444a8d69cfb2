"""How the modules may depend on each other, and how large they may grow. Reads the source; imports nothing here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support.paths import ROOT

PACKAGE = ROOT / "evohpc"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    "errors linux",
    "files messages envelopes",
    "config run_folder",
    "lm tasks evolution slurm store",
    "sandbox",
    "evaluation",
    "jobs lm_job",
    "driver",
    "search",
    "doctor report",
    "transfer",
    "cli",
    "__init__ __main__ evaluate records",
)
"""From the bottom to the top. A module imports from layers below its own, and a package from itself."""

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}

HEAVY = ("torch", "transformers", "peft", "deepspeed", "accelerate", "pandas", "matplotlib", "jax", "tensorflow")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def unit(path: Path) -> str:
    """Return the name of a top-level module, or of the package that a module lies in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Yield the units of evohpc that a module imports, anywhere in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "evohpc":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("evohpc."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("evohpc."))
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: a relative import"


def ids(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_module_has_its_layer():
    assert {unit(path) for path in MODULES} == set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_imports_go_down_only(path):
    me = unit(path)
    wrong = {name for name in imported(path) if name != me and RANK.get(name, len(LAYERS)) >= RANK[me]}
    assert not wrong, f"{ids(path)} imports {', '.join(sorted(wrong))}, which is not below it"


def test_what_runs_in_containers_needs_little_of_evohpc():
    allowed = {"errors", "linux", "messages", "envelopes", "config", "run_folder", "files"}
    for path in MODULES:
        if unit(path) in ("lm", "tasks"):
            assert set(imported(path)) <= allowed | {unit(path)}, ids(path)
        if path.is_relative_to(PACKAGE / "evaluation/stage"):
            assert set(imported(path)) <= allowed | {"tasks", "evaluation"}, ids(path)


def test_the_driver_side_starts_without_torch():
    """At run time, for what a module imports may itself import: one process loads all that runs on a login node."""
    names = [
        ".".join(("evohpc", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in MODULES
        if unit(path) not in ("lm", "tasks", "__main__") and not path.is_relative_to(PACKAGE / "evaluation/stage")
    ]
    script = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "evohpc.driver.driver" in loaded
    assert sorted(set(HEAVY) & set(loaded)) == []


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_modules_and_functions_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 300
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno >= 40}
    assert not long


def test_most_functions_are_a_few_lines():
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef)
    )
    assert lengths[len(lengths) // 2] < 10
    assert sum(length > 30 for length in lengths) <= 0.02 * len(lengths)


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_names_say_something(path):
    nodes = [n for n in ast.walk(tree(path)) if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    names = [*(node.name for node in nodes), *path.relative_to(PACKAGE).with_suffix("").parts]
    assert not [name for name in names if re.search(r"utils?$|manager|helper|misc|^common", name, re.IGNORECASE)]


@pytest.mark.parametrize("path", [path for path in MODULES if path.stat().st_size], ids=ids)
def test_what_is_public_is_documented(path):
    assert ast.get_docstring(tree(path))
    undocumented = [
        node.name
        for node in tree(path).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_" and not ast.get_docstring(node)
    ]
    assert not undocumented
