"""Source to candidate, or the reason why it is refused, before a GPU is spent on it. Pure; executes nothing.

Screening saves time and names reasons; it is no security boundary: that is the sandbox.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from evohpc.config import ScreeningConfig
from evohpc.records import Status, TaskInterface

BIDI = dict.fromkeys(map(ord, "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))
FORBIDDEN_CALLS = frozenset({"eval", "exec", "compile", "__import__", "open", "input", "breakpoint"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """`status` is PENDING where the source may be evaluated."""

    status: Status
    detail: str = ""
    code_hash: str = ""


def screen(source: str, task: TaskInterface, config: ScreeningConfig) -> Verdict:
    """Judge the whole module of a candidate. Duplicates are found by `code_hash`, which the caller compares."""
    tree = _parse(source, config)
    if isinstance(tree, Verdict):
        return tree
    for status, reason in _problems(tree, source, task, config):
        return Verdict(status, reason)
    return Verdict(Status.PENDING, code_hash=code_hash(tree))


def code_hash(tree: ast.Module) -> str:
    """Return 16 hex digits that two programs share if they differ only in comments, formatting, docstrings, or the
    names of locals and parameters."""
    normal = _Normaliser().visit(copy.deepcopy(tree))
    return hashlib.sha256(ast.dump(normal).encode()).hexdigest()[:16]


def _parse(source: str, config: ScreeningConfig) -> ast.Module | Verdict:
    size = len(source.encode(errors="surrogatepass"))
    if size > config.max_source_bytes:
        return Verdict(Status.SCREENED, f"{size} bytes of source, limit {config.max_source_bytes}")
    if _bracket_depth(source) > config.max_depth:
        return Verdict(Status.SCREENED, f"brackets nested deeper than {config.max_depth}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a child's invalid escape is no news of ours
            return ast.parse(source)
    except SyntaxError as error:
        return Verdict(Status.SYNTAX, f"line {error.lineno}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        return Verdict(Status.SYNTAX, f"{type(error).__name__}: {error}")


def _bracket_depth(source: str) -> int:
    """Upper bound, brackets in strings counted: keeps CPython's parser off its own stack limit."""
    depth = deepest = 0
    for character in source:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth = max(0, depth - 1)
    return deepest


def _problems(
    tree: ast.Module, source: str, task: TaskInterface, config: ScreeningConfig
) -> Iterator[tuple[Status, str]]:
    """Yield what is wrong, the plainest first; the caller takes one."""
    if source.translate(BIDI) != source:
        yield Status.SCREENED, "holds bidirectional control characters"
    entry = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == task.entry]
    if len(entry) != 1:
        yield Status.SYNTAX, f"defines class {task.entry} {len(entry)} times"
    elif not _defines_forward(entry[0]):
        yield Status.SYNTAX, f"class {task.entry} has no methods"
    depth = _depth(tree, config.max_depth)
    if depth > config.max_depth:
        yield Status.SCREENED, f"syntax tree deeper than {config.max_depth}"
        return
    nodes = list(ast.walk(tree))
    if len(nodes) > config.max_nodes:
        yield Status.SCREENED, f"{len(nodes)} nodes, limit {config.max_nodes}"
    literals = sum(len(repr(node.value)) for node in nodes if isinstance(node, ast.Constant))
    if literals > config.max_literal_bytes:
        yield Status.SCREENED, f"{literals} bytes of literals, limit {config.max_literal_bytes}"
    for node in nodes:
        reason = _forbidden(node, task)
        if reason:
            yield Status.SCREENED, f"line {getattr(node, 'lineno', 0)}: {reason}"


def _defines_forward(entry: ast.ClassDef) -> bool:
    return any(isinstance(node, ast.FunctionDef) for node in entry.body)


def _depth(tree: ast.AST, limit: int) -> int:
    """Depth of the tree by levels, no recursion; stops at the limit."""
    level: list[ast.AST] = [tree]
    depth = 0
    while level and depth <= limit:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        depth += 1
    return depth


def _forbidden(node: ast.AST, task: TaskInterface) -> str:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return _forbidden_import(node, task)
    if isinstance(node, ast.Name) and node.id in FORBIDDEN_CALLS:
        return f"uses {node.id}"
    if isinstance(node, ast.Attribute) and node.attr.startswith("__") and node.attr not in ("__init__", "__class__"):
        return f"reaches for {node.attr}"
    return ""


def _forbidden_import(node: ast.Import | ast.ImportFrom, task: TaskInterface) -> str:
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    else:
        modules = ["." * node.level + (node.module or "")]
    for module in modules:
        if not any(f"{module}.".startswith(f"{allowed}.") for allowed in task.allowed_imports):
            return f"imports {module}; allowed: {', '.join(task.allowed_imports)}"
    return ""


class _Normaliser(ast.NodeTransformer):
    """Renames parameters and locals of each function by order of first appearance, and drops docstrings."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        outer, self._names = self._names, dict(self._names)
        for name in _locals(node):
            self._names[name] = f"v{len(self._names)}"
        self._without_docstring(node)
        self._names = outer
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg, node.annotation = self._names.get(node.arg, node.arg), None
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._names.get(node.id, node.id)
        return node

    def _without_docstring(self, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> ast.AST:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        return self.generic_visit(node)


def _locals(function: ast.FunctionDef) -> list[str]:
    """Parameters and assigned names of a function, nested ones left to themselves, by order of appearance.

    `self.x` is an attribute and keeps its name: it is the key in the state dict. Parameters keep keyword calls of
    themselves working only inside one function, which is all a class body of a candidate does.
    """
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names += [a.arg for a in (arguments.vararg, arguments.kwarg) if a is not None]
    for node in _walk_scope(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
    return list(dict.fromkeys(names))


def _walk_scope(function: ast.FunctionDef) -> Iterator[ast.AST]:
    pending: list[ast.AST] = list(reversed(function.body))
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            pending.extend(reversed(list(ast.iter_child_nodes(node))))
