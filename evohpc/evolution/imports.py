"""The imports of a program, for `evohpc.evolution.code_hash`: which of them nothing uses, and whose order counts."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TypeGuard

from evohpc.evolution import trees

MODULES = frozenset(
    {
        *("torch", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.parameter", "torch.fft"),
        *("torch.linalg", "torch.special", "torch.autograd", "torch.optim", "torch.distributions", "torch.cuda"),
    }
)
"""Modules that `import torch` loads: whether a program imports them once more changes nothing, nor how it does."""
Import = ast.Import | ast.ImportFrom
_EARLY = (ast.Import, ast.ImportFrom)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def split(tree: ast.Module) -> tuple[list[str], list[Import]]:
    """Return what a module imports for names that the rest of it mentions, sorted, e.g. 'torch.nn as nn', and the plain
    imports, of which that says all. One whose place counts is not among them: one of several that bind a name.
    """
    placed = set(_placed(tree))
    plain = [node for node in tree.body if isinstance(node, _EARLY) and node not in placed]
    return sorted(_used(plain, trees.nodes(tree))), plain


def is_star(node: ast.AST) -> bool:
    """Say whether this is `from x import *`."""
    return isinstance(node, ast.ImportFrom) and node.names[0].name == "*"


def names_in_body(scope: ast.Module | ast.ClassDef) -> set[str]:
    """Return the names in the body of a module or class, its functions left out, and what their heads bind."""
    pending: list[ast.AST] = list(scope.body)
    names: set[str] = set()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name):
            names.add(node.id)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending.extend(_bound_in_head(node))
        else:
            pending.extend(trees.children(node))
    return names


def _bound_in_head(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """Yield the targets of `:=` in decorators, defaults and annotations: these belong to the scope outside."""
    annotations = [
        node.annotation for node in trees.walk(function.args) if isinstance(node, ast.arg) and node.annotation
    ]
    defaults = [default for default in (*function.args.defaults, *function.args.kw_defaults) if default]
    for part in (*function.decorator_list, *defaults, *annotations, *([function.returns] if function.returns else [])):
        yield from (node.target for node in trees.walk(part) if isinstance(node, ast.NamedExpr))


def _used(statements: Sequence[Import], nodes: trees.Nodes) -> set[str]:
    """Return what counts of imports at the top of a module that has these nodes."""
    mentioned = {node.id for node in nodes.of(ast.Name)} | set(_in_fields(nodes))
    attributes = {node.attr for node in nodes.of(ast.Attribute)}
    used = set()
    for statement in statements:
        for path, bound, alias in _imported(statement):
            if bound in mentioned or bound == "*":
                used.add(f"{path if alias else bound} as {bound}")
                if isinstance(statement, ast.Import) and alias and "." in path and path not in MODULES:
                    used.add(f"import {path} as {bound}")  # `from a import b` need not find a module
            if not (alias and f"{path} as {bound}" in used):
                used |= {f"loaded {part}" for part in _loaded(path) if part.rpartition(".")[2] in attributes}
    if any(_is_future(statement) for statement in statements) and _has_annotations(nodes):
        used |= {f"__future__.{alias.name}" for each in statements if _is_future(each) for alias in each.names}
    return used


def _imported(statement: ast.stmt) -> Iterator[tuple[str, str, bool]]:
    """Yield (what is imported, the name that it binds, whether the name stands for all of it)."""
    assert isinstance(statement, _EARLY)
    if isinstance(statement, ast.ImportFrom):
        origin = f"{'.' * statement.level}{statement.module or ''}."
        yield from ((f"{origin}{alias.name}", alias.asname or alias.name, True) for alias in statement.names)
    else:
        for alias in statement.names:
            yield alias.name, alias.asname or alias.name.partition(".")[0], alias.asname is not None


def _loaded(path: str) -> Iterator[str]:
    """Yield what may be modules that an import makes attributes of their package; a capital is a class's."""
    parts = path.split(".")
    for end in range(2, len(parts) + 1):
        module = ".".join(parts[:end])
        if module not in MODULES and not parts[end - 1][:1].isupper():
            yield module


def _placed(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the imports of which it counts where in the module they stand."""
    imports = [node for node in tree.body if isinstance(node, _EARLY) and not _is_future(node)]
    if any(map(is_star, imports)):
        yield from () if is_star(imports[0]) and _is_only_star(tree, imports[0]) else imports
        return
    rebound, known, mentioned = _rebound(tree), set[str](), set[str]()
    last = max((index for index, node in enumerate(tree.body) if isinstance(node, _EARLY)), default=-1)
    for node in tree.body[: last + 1]:
        if isinstance(node, _EARLY):
            bound = {name for _, name, _ in _imported(node)}
            if not _is_future(node) and (bound & rebound or (bound - known) & mentioned):
                yield node
            known |= bound
        else:
            mentioned |= {each.id for each in trees.walk(node) if isinstance(each, ast.Name)}


def _is_only_star(tree: ast.Module, first: ast.stmt) -> bool:
    """Say whether a star import comes before all that binds a name, and no other one after it."""
    before = tree.body[: tree.body.index(first)]
    return not any(map(_binds, before)) and sum(map(is_star, tree.body)) == 1


def _rebound(tree: ast.Module) -> set[str]:
    """Return the names of the module that more than one statement binds, and not to the same import."""
    origins: dict[str, set[str]] = defaultdict(set)
    for statement in tree.body:
        if isinstance(statement, _EARLY):
            for path, name, alias in _imported(statement):
                origins[name].add(path if alias else name)
    others = {name for statement in tree.body if not isinstance(statement, _EARLY) for name in _binds(statement)}
    others |= {name for node in trees.nodes(tree).of(ast.Global) for name in node.names}
    return {name for name, found in origins.items() if len(found) > 1 or name in others}


def _binds(statement: ast.stmt) -> set[str]:
    """Return the names that a statement binds, or deletes, in the module's own scope."""
    names: set[str] = set()
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop()
        if isinstance(node, _EARLY):
            names |= {name for _, name, _ in _imported(node)}
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        names |= {value for field in ("name", "rest") if isinstance(value := getattr(node, field, None), str)}
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending.extend(_bound_in_head(node))
        elif not isinstance(node, _SCOPES):
            pending.extend(trees.children(node))
    return names


def _is_future(statement: ast.stmt) -> TypeGuard[ast.ImportFrom]:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _has_annotations(nodes: trees.Nodes) -> bool:
    return any(getattr(node, "annotation", None) or getattr(node, "returns", None) for node in nodes.every)


def _in_fields(nodes: trees.Nodes) -> Iterator[str]:
    """Yield the words of annotations that are text, of a class's fields: a dataclass looks for ClassVar in them."""
    for scope in nodes.of(ast.ClassDef):
        for field in (node.annotation for node in scope.body if isinstance(node, ast.AnnAssign)):
            for node in trees.walk(field):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield from node.value.replace("[", " ").replace(".", " ").replace("]", " ").split()
