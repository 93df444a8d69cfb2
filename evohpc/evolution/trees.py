"""The nodes of a syntax tree, walked once for all that look at them."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import TypeVar

N = TypeVar("N", bound=ast.AST)

LONG_NAME = 32
"""Characters."""


class Nodes:
    """The nodes of a tree that nobody changes, as `ast.parse` returns it: each is of exactly one kind."""

    def __init__(self, tree: ast.AST) -> None:
        self.every: list[ast.AST] = []
        """In the order of `ast.walk`."""
        self.depth = 0
        """How many levels there are; 1 for a node without children."""
        for level in _levels(tree):
            self.every += level
            self.depth += 1
        self._by_kind: dict[type[ast.AST], list[ast.AST]] = defaultdict(list)
        for node in self.every:
            self._by_kind[type(node)].append(node)

    def of(self, *kinds: type[N]) -> Iterator[N]:
        """Yield the nodes of these kinds, kind by kind."""
        for kind in kinds:
            yield from self._by_kind.get(kind, ())  # type: ignore[misc]  # under the key of a kind are nodes of it


@lru_cache(maxsize=4)
def nodes(tree: ast.AST) -> Nodes:
    """Return the nodes of a tree that nobody changes; several look at the same tree one after another."""
    return Nodes(tree)


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a tree, or of a part of one, in the order of `ast.walk`."""
    for level in _levels(tree):
        yield from level


def children(node: ast.AST) -> list[ast.AST]:
    """Return the nodes right below one."""
    found: list[ast.AST] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            found.append(value)
        elif isinstance(value, list):
            found += [item for item in value if isinstance(item, ast.AST)]
    return found


def long_names(node: ast.AST) -> list[str]:
    """Return the names in a node itself that are longer than people and language models make them: these may hold data,
    which a program reads as keywords, attributes or what `dir` returns. The names of modules are not the program's own.
    """
    if isinstance(node, ast.Constant | ast.ImportFrom):
        return []
    fields = [getattr(node, name, None) for name in node._fields if (type(node), name) != (ast.alias, "name")]
    parts = [part for value in fields for part in (value if isinstance(value, list) else [value])]
    return [part for part in parts if isinstance(part, str) and len(part) > LONG_NAME]


def _levels(tree: ast.AST) -> Iterator[list[ast.AST]]:
    """Yield the nodes by their distance from the root; no recursion, so no depth is too much."""
    level = [tree]
    while level:
        yield level
        level = [child for node in level if node._fields for child in children(node)]
