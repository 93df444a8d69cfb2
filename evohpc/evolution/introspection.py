"""Whether a program can see its own text: the names of its locals, its docstrings, its imports. Pure; executes nothing.

Two programs that differ in nothing else do the same, unless they look. What is listed here is what Python and PyTorch
offer for looking. A name that a program puts together from parts at run time ('__do' + 'c__') is beyond it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

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
"""The same, but of `self`: what that holds are attributes, whose names are never exchanged."""
_MODULES = frozenset(
    {
        *("ast", "dis", "gc", "importlib", "inspect", "linecache", "pdb", "pydoc", "symtable", "tokenize"),
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


def can_see_itself(tree: ast.Module) -> bool:
    """Say whether the program mentions anything that shows it its own text."""
    docstrings = set(map(id, _docstrings(tree)))
    return any(_shows(node) for node in trees.nodes(tree) if id(node) not in docstrings)


def _docstrings(tree: ast.Module) -> Iterable[ast.AST]:
    for node in trees.nodes(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            yield body[0].value


def _shows(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), args=args) if name in _OF_CALLER:
            return not args or not _is_self(args[0])
        case ast.Name(id=name):
            return name in _CALLS or name in _DUNDERS
        case ast.Attribute(attr="__dict__", value=value):
            return not _is_self(value)
        case ast.Attribute(attr=name):
            return name in _CALLS or name in _DUNDERS or _FRAMES.fullmatch(name) is not None or _is_module(node)
        case ast.Import(names=names):
            return any(_is_one_of_the_modules(alias.name) for alias in names)
        case ast.ImportFrom(module=module, names=names):
            return any(_is_one_of_the_modules(f"{module}.{a.name}") or a.name in _CALLS for a in names)
        case ast.Constant(value=str(text)):
            return any(name in text for name in _DUNDERS) or _FRAMES.search(text) is not None
        case ast.ExceptHandler(name=str(name), body=body):
            return _tells(name, body)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name in _TELLS_ERRORS
    return False


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _is_module(node: ast.Attribute) -> bool:
    """Say whether this is 'torch.jit' or the like, spelt out."""
    return isinstance(node.value, ast.Name) and f"{node.value.id}.{node.attr}" in _MODULES


def _is_one_of_the_modules(path: str) -> bool:
    return any(f"{path}.".startswith(f"{module}.") for module in _MODULES)


def _tells(name: str, body: list[ast.stmt]) -> bool:
    """Say whether a handler does more with its exception than to raise it again: its text tells the names of locals."""
    nodes = [node for statement in body for node in trees.nodes(statement)]
    raised = {id(part) for node in nodes if isinstance(node, ast.Raise) for part in (node.exc, node.cause)}
    return any(isinstance(node, ast.Name) and node.id == name and id(node) not in raised for node in nodes)
