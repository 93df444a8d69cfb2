"""Whether a program can see its own text: the names of its locals, its docstrings, its imports. Pure; executes nothing.

Two programs that differ in nothing else do the same, unless they look. What is listed here is what Python and PyTorch
offer for looking. A name that a program puts together from parts at run time ('__do' + 'c__') is beyond it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evohpc.evolution import trees

_CALLS = frozenset(
    {
        *("locals", "globals", "eval", "exec", "compile", "help", "__import__", "breakpoint"),
        *("get_type_hints", "get_annotations", "signature", "getsource", "getdoc", "getmembers", "getfullargspec"),
        *("_getframe", "_current_frames", "exc_info", "settrace", "setprofile"),
    }
)
"""Functions that tell the names, the docstrings or the text of what they are given, or of their caller."""
_OF_CALLER = frozenset({"vars", "dir"})
"""The same, but for a call of `self`: what that holds are attributes, whose names are never exchanged. By another name
it could be called of anything."""
_MODULES = frozenset(
    {
        *("ast", "builtins", "dis", "gc", "importlib", "inspect", "linecache", "pdb", "pydoc", "symtable", "tokenize"),
        *("traceback", "torch.export", "torch.fx", "torch.jit", "torch.library", "torch.onnx"),
    }
)
"""Modules that read frames, code objects, signatures or source. TorchScript takes types from comments, torch.fx and
torch.export call the inputs of a model what its parameters are called."""
_DUNDERS = (
    *("__annotate__", "__annotations__", "__builtins__", "__closure__", "__code__", "__dict__", "__doc__"),
    *("__func__", "__globals__", "__kwdefaults__", "__loader__", "__signature__", "__text_signature__", "__wrapped__"),
)
_FRAMES = re.compile(r"(co|f|tb|gi|cr|ag|func)_(code|frame|back|locals|globals|builtins|lineno|\w*names|\w*vars|doc)")
_TELLS_ERRORS = frozenset({"__exit__", "__aexit__"})
_WITH_BODY: tuple[Any, ...] = tuple(
    kind for kind in vars(ast).values() if isinstance(kind, type) and "body" in getattr(kind, "_fields", ())
)


def can_see_itself(tree: ast.Module) -> bool:
    """Say whether the program mentions anything that shows it its own text."""
    nodes = trees.nodes(tree)
    of_self = {id(node.func) for node in nodes.of(ast.Call) if node.args and _is_self(node.args[0])}
    if any(node.id in _OF_CALLER and id(node) not in of_self for node in nodes.of(ast.Name)):
        return True
    docstrings = {id(node.value) for node in _docstrings(nodes)}
    return any(shows(node) for kind, shows in _SHOWS.items() for node in nodes.of(kind) if id(node) not in docstrings)


def _docstrings(nodes: trees.Nodes) -> Iterator[ast.Expr]:
    for node in nodes.of(*_WITH_BODY):
        if isinstance(node.body, list) and node.body and isinstance(node.body[0], ast.Expr):
            yield node.body[0]


def _name_shows(node: ast.Name) -> bool:
    return node.id in _CALLS or node.id in _DUNDERS


def _attribute_shows(node: ast.Attribute) -> bool:
    name = node.attr
    if name == "__dict__":
        return not _is_self(node.value)
    return name in _CALLS or name in _DUNDERS or _FRAMES.fullmatch(name) is not None or _is_module(node)


def _import_shows(node: ast.Import) -> bool:
    return any(_is_one_of_the_modules(alias.name) for alias in node.names)


def _import_from_shows(node: ast.ImportFrom) -> bool:
    return any(_is_one_of_the_modules(f"{node.module}.{a.name}") or a.name in _CALLS for a in node.names)


def _text_shows(node: ast.Constant) -> bool:
    text = node.value
    if not isinstance(text, str):
        return False
    return any(name in text for name in _DUNDERS) or _FRAMES.search(text) is not None


def _handler_shows(node: ast.ExceptHandler) -> bool:
    """Say whether it does more with its exception than to raise it again: its text tells the names of locals."""
    if node.name is None:
        return False
    nodes = [part for statement in node.body for part in trees.walk(statement)]
    raised = {id(part) for each in nodes if isinstance(each, ast.Raise) for part in (each.exc, each.cause)}
    return any(isinstance(each, ast.Name) and each.id == node.name and id(each) not in raised for each in nodes)


def _function_shows(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return node.name in _TELLS_ERRORS


_SHOWS: Mapping[type[ast.AST], Callable[[Any], bool]] = {
    ast.Name: _name_shows,
    ast.Attribute: _attribute_shows,
    ast.Import: _import_shows,
    ast.ImportFrom: _import_from_shows,
    ast.Constant: _text_shows,
    ast.ExceptHandler: _handler_shows,
    ast.FunctionDef: _function_shows,
    ast.AsyncFunctionDef: _function_shows,
}
"""What says of a node of each kind whether it shows the program its own text."""


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _is_module(node: ast.Attribute) -> bool:
    """Say whether this is 'torch.jit' or the like, spelt out."""
    return isinstance(node.value, ast.Name) and f"{node.value.id}.{node.attr}" in _MODULES


def _is_one_of_the_modules(path: str) -> bool:
    return any(f"{path}.".startswith(f"{module}.") for module in _MODULES)
