"""When two programs are the same: a digest of the syntax tree without what does not change its meaning."""

from __future__ import annotations

import ast
import builtins
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from evohpc.evolution import imports, introspection, trees
from evohpc.evolution.imports import names_in_body

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_PASSED_BY_TORCH = frozenset(
    {
        *("src_mask", "src_key_padding_mask", "tgt_mask", "tgt_key_padding_mask", "memory_mask", "is_causal"),
        *("memory_key_padding_mask", "tgt_is_causal", "memory_is_causal", "mask", "need_weights", "attn_mask"),
    }
)
"""Parameters that `nn.TransformerEncoder` and its like pass to the layers they are given, by name."""


def code_hash(tree: ast.Module, source: str) -> str:
    """Return 16 hex digits that two programs share if they differ only in comments, formatting, docstrings, the order
    of imports, imports that nothing uses, or the names of locals and parameters.

    The opposite holds, too: programs that share it do the same, provided that their imports succeed. So a name keeps
    its place where it could mean something else: one that the module, a class or Python itself binds, or that a call
    passes a parameter by. A program that can see its own text is the same as that text only.

    A program that is not affected by such a doubt has the digest that evohpc 0.1.0 gave it: runs are rebuilt by it.

    Args:
        tree: of the source, as `ast.parse` returns it. It is not changed.
        source: the text of the whole module.
    """
    if introspection.can_see_itself(tree):
        return _digest(f"text {source}")
    used, program = imports.split(tree)
    text = _NormalText(program, {name.rpartition(" ")[2] for name in used})
    return _digest(f"{used}{text.of(program)}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


class _NormalText:
    """A tree as text, as ast.dump has it, without docstrings, and with the names that are bound in each outermost
    function, nested scopes included, numbered by order of appearance. Equal names stay equal and different ones
    different, so nothing changes its meaning. Empty fields, which new versions of Python add, are left out."""

    def __init__(self, program: ast.Module, imported: set[str]) -> None:
        self._fixed = _fixed_names(program) | imported
        self._renames = not any(imports.is_star(node) for node in trees.nodes(program)) and "*" not in imported
        """After `from x import *`, a name that one function binds may be a global of another."""
        self._bound: set[str] = set()
        self._numbers: dict[str, str] | None = None
        """By name, within a function."""

    def of(self, node: object) -> str:
        if isinstance(node, list):
            return f"[{', '.join(map(self.of, node))}]"
        if not isinstance(node, ast.AST):
            return repr(node)
        if self._numbers is not None or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return self._node(node)
        self._numbers, self._bound = {}, _bound_names(node) - self._fixed if self._renames else set()
        text = self._node(node)
        self._numbers = None
        return text

    def _node(self, node: ast.AST) -> str:
        fields = [(name, self._value(node, value)) for name, value in ast.iter_fields(node)]
        shown = [f"{name}={self.of(value)}" for name, value in fields if value is not None and value != []]
        return f"{type(node).__name__}({', '.join(shown)})"

    def _value(self, node: ast.AST, value: Any) -> Any:
        """Return what counts of a field."""
        if isinstance(node, ast.Name | ast.arg) and isinstance(value, str):
            return self._renamed(value)
        if isinstance(value, list) and isinstance(node, _DOCUMENTED) and value is node.body:
            return value[ast.get_docstring(node, clean=False) is not None :]
        return value

    def _renamed(self, name: str) -> str:
        if self._numbers is None or name not in self._bound:
            return name
        return self._numbers.setdefault(name, f"${len(self._numbers)}")  # no identifier, so no program has it already


def _bound_names(tree: ast.AST) -> set[str]:
    """Return all parameters and assigned names in a tree, without those that Python mangles within a class: '__a' is
    the same variable as '_Model__a' there."""
    nodes = trees.nodes(tree)
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound = stored | {node.arg for node in nodes if isinstance(node, ast.arg)}
    return {name for name in bound if not (name.startswith("_") and "__" in name)}


def _fixed_names(tree: ast.Module) -> set[str]:
    """Return the names that a function's own may not be exchanged for."""
    fixed = set(dir(builtins))
    for node in trees.nodes(tree):
        if isinstance(node, ast.Module | ast.ClassDef):
            fixed |= names_in_body(node)
        for field in ("name", "names", "asname", "rest"):  # definitions, imports, handlers, patterns, global
            value = getattr(node, field, None)
            names = value if isinstance(value, list) else [value]
            fixed.update(name.partition(".")[0] for name in names if isinstance(name, str))
        if isinstance(node, ast.keyword) and node.arg:
            fixed.add(node.arg)
    return fixed | set(_passed_by_name(tree))


def _passed_by_name(tree: ast.Module) -> Iterator[str]:
    """Yield the names that parameters may be passed by without being written as the keyword of a call."""
    nodes = trees.nodes(tree)
    unpacked = [node.value for node in nodes if isinstance(node, ast.keyword) and node.arg is None]
    if unpacked:
        yield from (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    passed_on = _passed_on_whole(nodes)
    if not all(_has_plain_keys(value) or getattr(value, "id", None) in passed_on for value in unpacked):
        yield from (node.arg for node in nodes if isinstance(node, ast.arg))
    if any("Transformer" in str(getattr(node, "attr", getattr(node, "id", ""))) for node in nodes):
        yield from _PASSED_BY_TORCH


def _has_plain_keys(value: ast.expr) -> bool:
    return isinstance(value, ast.Dict) and all(isinstance(key, ast.Constant) for key in value.keys)


def _passed_on_whole(nodes: Sequence[ast.AST]) -> set[str]:
    """Return the names of functions' own `**kwargs` of which nothing is done but to pass them on."""
    caught = {node.kwarg.arg for node in nodes if isinstance(node, ast.arguments) and node.kwarg is not None}
    passed = {id(node.value) for node in nodes if isinstance(node, ast.keyword) and node.arg is None}
    return caught - {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in passed}
