"""When two programs are the same: a digest of the syntax tree without what does not change its meaning."""

from __future__ import annotations

import ast
import builtins
import hashlib
from typing import Any

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_hash(tree: ast.Module) -> str:
    """Return 16 hex digits that two programs share if they differ only in comments, formatting, docstrings, the order
    of imports, imports that nothing uses, or the names of locals and parameters.

    The opposite holds, too: programs that share it do the same. So a name keeps its place where it could mean something
    else: one that the module, a class or Python itself binds, or that a call passes a parameter by.
    """
    is_import = [isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body]
    program = ast.Module([node for node, skip in zip(tree.body, is_import, strict=True) if not skip], [])
    imports = sorted(_used_imports(tree, program))
    text = _NormalText(program, {name.rpartition(" ")[2] for name in imports})
    return hashlib.sha256(f"{imports}{text.of(program)}".encode()).hexdigest()[:16]


def _used_imports(tree: ast.Module, program: ast.Module) -> set[str]:
    """Return what the module imports for names that the rest of it mentions, e.g. 'torch.nn as nn'."""
    mentioned = {node.id for node in ast.walk(program) if isinstance(node, ast.Name)}
    used = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = f"{'.' * node.level}{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                if bound in mentioned or bound == "*":
                    used.add(f"{origin}{alias.name if alias.asname or origin else bound} as {bound}")
    return used


class _NormalText:
    """A tree as text, as ast.dump has it, without docstrings, and with the names that are bound in each outermost
    function, nested scopes included, numbered by order of appearance. Equal names stay equal and different ones
    different, so nothing changes its meaning. Empty fields, which new versions of Python add, are left out."""

    def __init__(self, program: ast.Module, imported: set[str]) -> None:
        self._fixed = _fixed_names(program) | imported
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
        self._numbers, self._bound = {}, _bound_names(node) - self._fixed
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
    """Return all parameters and assigned names in a tree."""
    nodes = list(ast.walk(tree))
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    return stored | {node.arg for node in nodes if isinstance(node, ast.arg)}


def _fixed_names(tree: ast.Module) -> set[str]:
    """Return the names that a function's own may not be exchanged for."""
    fixed = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef):
            fixed |= _names_in_body(node)
        for field in ("name", "names", "asname", "rest"):  # definitions, imports, handlers, patterns, global
            value = getattr(node, field, None)
            names = value if isinstance(value, list) else [value]
            fixed.update(name.partition(".")[0] for name in names if isinstance(name, str))
        if isinstance(node, ast.keyword) and node.arg:
            fixed.add(node.arg)
    return fixed


def _names_in_body(scope: ast.Module | ast.ClassDef) -> set[str]:
    """Return the names in the body of a module or class, its functions left out."""
    pending: list[ast.AST] = list(scope.body)
    names: set[str] = set()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name):
            names.add(node.id)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending.extend(ast.iter_child_nodes(node))
    return names
