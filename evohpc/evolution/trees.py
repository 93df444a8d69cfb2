"""The nodes of a syntax tree, walked once for all that look at them."""

from __future__ import annotations

import ast
from functools import lru_cache


@lru_cache(maxsize=32)
def nodes(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Return the nodes of a tree that nobody changes, in the order of `ast.walk`."""
    return tuple(ast.walk(tree))
