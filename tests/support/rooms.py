"""The rooms of evohpc, a room being a module or a package at its top: their layers, purposes and imports.

Reads the source and imports none of it. `docs/draw_rooms.py` draws what stands here, `test_layers.py` holds it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from support.paths import ROOT

PACKAGE = ROOT / "evohpc"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    "errors linux",
    "files messages envelopes",
    "config run_folder",
    "evolution shipped slurm store",
    "lm tasks",
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
"""From the bottom to the top. A module imports from layers below its own, and a package from itself. The topmost are no
rooms, but names to import or start evohpc by."""

FORMATS = 3
"""How many layers, from the bottom, are about files and messages alone; any room above may import them."""


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def room(path: Path) -> str:
    """Return the room that a module of evohpc belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Yield the rooms that a module imports, anywhere in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "evohpc":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("evohpc."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("evohpc."))
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: a relative import"


def purpose(name: str) -> str:
    """Return the first line of a room's docstring."""
    package = PACKAGE / name / "__init__.py"
    docstring = ast.get_docstring(tree(package if package.exists() else PACKAGE / f"{name}.py"))
    assert docstring, f"evohpc/{name} does not say what it is for"
    return docstring.splitlines()[0]


def imports() -> dict[str, set[str]]:
    """Return for each room the other rooms that it imports."""
    found: dict[str, set[str]] = {name: set() for names in LAYERS for name in names.split()}
    for path in MODULES:
        found[room(path)] |= set(imported(path)) - {room(path)}
    return found


def direct(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return an acyclic graph without the edges that a longer path makes superfluous (its transitive reduction)."""

    def below(name: str) -> set[str]:
        return graph[name].union(*map(below, graph[name]))

    return {name: targets - set().union(*map(below, targets)) for name, targets in graph.items()}
