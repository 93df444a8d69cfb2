"""Source to candidate, or the reason why it is refused, before a GPU is spent on it. Pure; executes nothing.

Screening saves time and names reasons; it is no security boundary: that is the sandbox.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evohpc.config import ScreeningConfig
from evohpc.records import Status, TaskInterface

BIDI = dict.fromkeys(map(ord, "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))
FORBIDDEN_NAMES = frozenset({"eval", "exec", "compile", "__import__", "open", "breakpoint"})
ALLOWED_DUNDERS = frozenset({"__init__", "__class__"})
MAX_INTEGER_BITS = 256
"""No network needs more, and Python refuses to print an integer of more than 4300 digits."""

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


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
        return Verdict(Status.SYNTAX, f"line {error.lineno or 1}: {error.msg}")
    except ValueError as error:  # null bytes, before Python 3.12
        return Verdict(Status.SYNTAX, str(error))
    except (RecursionError, MemoryError):
        return Verdict(Status.SYNTAX, "nested too deeply for Python's parser")


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
    elif not any(isinstance(node, ast.FunctionDef) for node in entry[0].body):
        yield Status.SYNTAX, f"class {task.entry} has no methods"
    depth = _depth(tree, config.max_depth)
    if depth > config.max_depth:
        yield Status.SCREENED, f"syntax tree deeper than {config.max_depth}"
        return
    nodes = list(ast.walk(tree))
    if len(nodes) > config.max_nodes:
        yield Status.SCREENED, f"{len(nodes)} nodes, limit {config.max_nodes}"
    literals = sum(_literal_bytes(node.value) for node in nodes if isinstance(node, ast.Constant))
    if literals > config.max_literal_bytes:
        yield Status.SCREENED, f"{literals} bytes of literals, limit {config.max_literal_bytes}"
    for node in nodes:
        reason = _forbidden(node, task)
        if reason:
            yield Status.SCREENED, f"line {getattr(node, 'lineno', 0)}: {reason}"


def _literal_bytes(value: object) -> int:
    return value.bit_length() // 3 + 1 if isinstance(value, int) else len(repr(value))


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
    if isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES:
        return f"uses {node.id}"
    if isinstance(node, ast.Attribute) and node.attr.startswith("__") and node.attr not in ALLOWED_DUNDERS:
        return f"reaches for {node.attr}"
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value.bit_length() > MAX_INTEGER_BITS:
        return f"holds an integer of {node.value.bit_length()} bits, limit {MAX_INTEGER_BITS}"
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
