"""When two programs are the same: a digest of the syntax tree without what does not change its meaning."""

from __future__ import annotations

import ast
import builtins
import hashlib
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from evohpc.evolution import imports, introspection, trees
from evohpc.evolution.imports import Import, names_in_body

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_PASSED_BY_TORCH = frozenset(
    {
        *("src_mask", "src_key_padding_mask", "tgt_mask", "tgt_key_padding_mask", "memory_mask", "is_causal"),
        *("memory_key_padding_mask", "tgt_is_causal", "memory_is_causal", "mask", "need_weights", "attn_mask"),
    }
)
"""Parameters that `nn.TransformerEncoder` and its like pass to the layers they are given, by name."""
_BUILTINS = frozenset(dir(builtins))
_NAMED = {ast.Name: "id", ast.arg: "arg"}
"""The field that holds the name of a variable."""
_MARKED = re.compile("\0([^\0]*)\0")


def _naming() -> dict[type[ast.AST], list[str]]:
    """Return the fields of definitions, imports, handlers, patterns and `global` that hold names, by kind of node."""
    kinds = [kind for kind in vars(ast).values() if isinstance(kind, type) and issubclass(kind, ast.AST)]
    fields = ("name", "names", "asname", "rest")
    return {kind: found for kind in kinds if (found := [field for field in fields if field in kind._fields])}


_NAMING = _naming()


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
    used, plain = imports.split(tree)
    rest = [node for node in tree.body if node not in plain]
    imported = {name.rpartition(" ")[2] for name in used}
    has_star = "*" in imported or any(map(imports.is_star, set(trees.nodes(tree).of(ast.ImportFrom)).difference(plain)))
    text = _NormalText(None if has_star else _fixed_names(tree, plain) | imported).of(ast.Module(rest, []))
    return _digest(f"{used}{text}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


class _NormalText:
    """A tree as text, as ast.dump has it, without docstrings, and with the names that are bound in each outermost
    function, nested scopes included, numbered by order of appearance. Equal names stay equal and different ones
    different, so nothing changes its meaning. Empty fields, which new versions of Python add, are left out."""

    def __init__(self, fixed: AbstractSet[str] | None) -> None:
        """
        Args:
            fixed: names that stay; None for all: after `from x import *`, a name that one function binds may be a
                global of another.
        """
        self._fixed = fixed
        self._bound: set[str] | None = None
        """What the outermost function binds, as far as it was read; None outside of functions."""

    def of(self, node: object) -> str:
        if isinstance(node, list):
            return f"[{', '.join(map(self.of, node))}]"
        if not isinstance(node, ast.AST):
            return repr(node)
        if not node._fields:
            return f"{type(node).__name__}()"
        if self._bound is None and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return self._function(node)
        return self._node(node)

    def _function(self, node: ast.AST) -> str:
        """Return an outermost function. What it binds is known at its end: names are marked first, then numbered."""
        self._bound = set()
        text = self._node(node)
        bound, self._bound = set() if self._fixed is None else self._bound - self._fixed, None
        numbers: dict[str, str] = {}

        def shown(mark: re.Match[str]) -> str:
            name = mark[1]  # a number is no identifier, so no program has it already
            return repr(numbers.setdefault(name, f"${len(numbers)}") if name in bound else name)

        return _MARKED.sub(shown, text)

    def _node(self, node: ast.AST) -> str:
        shown = []
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list) and field == "body" and isinstance(node, _DOCUMENTED):
                value = value[ast.get_docstring(node, clean=False) is not None :]
            if value is not None and value != []:
                is_name = _NAMED.get(type(node)) == field
                shown.append(f"{field}={self._name(node, value) if is_name else self.of(value)}")
        return f"{type(node).__name__}({', '.join(shown)})"

    def _name(self, node: ast.AST, name: str) -> str:
        if self._bound is None:
            return repr(name)
        if not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)) and not _is_mangled(name):
            self._bound.add(name)
        return f"\0{name}\0"  # in no other text: repr() escapes it


def _is_mangled(name: str) -> bool:
    """Say whether Python may change a name within a class: '__a' is the same variable as '_Model__a' there."""
    return name.startswith("_") and "__" in name


def _fixed_names(tree: ast.Module, plain: Sequence[Import]) -> set[str]:
    """Return the names that a function's own may not be exchanged for.

    Args:
        plain: imports at the top of the module whose names come on top.
    """
    nodes = trees.nodes(tree)
    left_out = {id(alias) for statement in plain for alias in statement.names}
    fixed = set(_BUILTINS)
    fixed.update(*map(names_in_body, nodes.of(ast.Module)), *map(names_in_body, nodes.of(ast.ClassDef)))
    for kind, fields in _NAMING.items():
        for node in nodes.of(kind):
            for value in (getattr(node, field, None) for field in fields if id(node) not in left_out):
                names = value if isinstance(value, list) else [value]
                fixed.update(name.partition(".")[0] for name in names if isinstance(name, str))
    fixed.update(node.arg for node in nodes.of(ast.keyword) if node.arg)
    fixed.update(_passed_by_name(nodes))
    return fixed


def _passed_by_name(nodes: trees.Nodes) -> Iterator[str]:
    """Yield the names that parameters may be passed by without being written as the keyword of a call."""
    unpacked = [node.value for node in nodes.of(ast.keyword) if node.arg is None]
    if unpacked:
        yield from (node.value for node in nodes.of(ast.Constant) if isinstance(node.value, str))
    passed_on = _passed_on_whole(nodes)
    if not all(_has_plain_keys(value) or getattr(value, "id", None) in passed_on for value in unpacked):
        yield from (node.arg for node in nodes.of(ast.arg))
    words = [*(node.attr for node in nodes.of(ast.Attribute)), *(node.id for node in nodes.of(ast.Name))]
    if any("Transformer" in word for word in words):
        yield from _PASSED_BY_TORCH


def _has_plain_keys(value: ast.expr) -> bool:
    return isinstance(value, ast.Dict) and all(isinstance(key, ast.Constant) for key in value.keys)


def _passed_on_whole(nodes: trees.Nodes) -> set[str]:
    """Return the names of functions' own `**kwargs` of which nothing is done but to pass them on."""
    caught = {node.kwarg.arg for node in nodes.of(ast.arguments) if node.kwarg is not None}
    passed = {id(node.value) for node in nodes.of(ast.keyword) if node.arg is None}
    return caught - {node.id for node in nodes.of(ast.Name) if id(node) not in passed} if caught else caught
