"""A tree is walked once, and in the order of `ast.walk`, which decides which of several problems is named."""

from __future__ import annotations

import ast
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evohpc.evolution import trees

PROGRAMS = [
    "",
    "x = 1",
    "from a import b as c\nglobal d, e\nclass A(b, metaclass=c):\n    '''text'''\n    x: int = 1",
    "def f(a, /, b=1, *c, d, e=2, **g):\n    return lambda: (yield {a: b, **c}), [*d], f'{e!r:>{g}}'",
    "match a:\n    case {'b': c, **d}: pass\n    case [*e]: pass\n    case F(g=h) | None: pass",
    "try:\n    pass\nexcept* A as b:\n    raise\nfinally:\n    async def f():\n        async with a as b, c: pass",
    inspect.getsource(trees),
]


@pytest.mark.parametrize("source", PROGRAMS)
def test_the_nodes_are_those_of_ast_walk_in_its_order(source: str) -> None:
    tree = ast.parse(source)
    expected = list(ast.walk(tree))
    assert list(trees.walk(tree)) == trees.nodes(tree).every == expected
    for node in expected:
        assert trees.children(node) == list(ast.iter_child_nodes(node))


@pytest.mark.parametrize("source", PROGRAMS)
def test_each_node_is_found_under_its_kind(source: str) -> None:
    nodes = trees.nodes(ast.parse(source))
    kinds = list(dict.fromkeys(map(type, nodes.every)))
    assert sorted(map(id, nodes.of(*kinds))) == sorted(map(id, nodes.every))
    for kind in kinds:
        assert list(nodes.of(kind)) == [node for node in nodes.every if type(node) is kind]


@given(st.integers(0, 300))
def test_the_depth_is_the_number_of_levels(count: int) -> None:
    tree: ast.expr = ast.Constant(1)
    for _ in range(count):
        tree = ast.UnaryOp(ast.Not(), tree)
    assert trees.Nodes(tree).depth == count + 1


def test_a_tree_is_walked_once() -> None:
    tree = ast.parse("x = 1")
    assert trees.nodes(tree) is trees.nodes(tree)
