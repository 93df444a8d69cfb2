"""The rules that a task of one's own must keep, as far as looking at it tells; what they break, in sentences."""

from __future__ import annotations

import ast
import inspect
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

from evohpc.evolution.entry import is_entry
from evohpc.messages import TaskInterface

METHODS: Mapping[str, tuple[str, ...]] = {
    "prepare": ("seed", "secret"),
    "build": ("module",),
    "train": ("model", "data", "seed"),
    "predict": ("model", "inputs"),
    "score": ("predictions", "labels"),
    "fitness": ("num_params", "error"),
}
"""What a task can do, and what each method is called with."""
PROGRAM_METHODS: Mapping[str, tuple[str, ...]] = {
    "prepare": ("seed", "secret"),
    "run": ("module", "inputs"),
    "score": ("outputs", "labels"),
}
"""The same of a task of programs."""
_OPTIONAL: Mapping[str, tuple[str, ...]] = {"size": ("source", "seconds"), "fitness": ("size", "error")}
"""What that may have besides."""


def has_programs(cls: type) -> bool:
    """Say whether the class of a task is a `ProgramTask`: its candidates are run, and not trained."""
    return callable(getattr(cls, "run", None)) and not hasattr(cls, "train")


def missing_methods(cls: type) -> str:
    """Return which methods the class of a task lacks; '' for none."""
    methods = PROGRAM_METHODS if has_programs(cls) else METHODS
    missing = [name for name in methods if not callable(getattr(cls, name, None))]
    if not {"build", "train", "predict"} <= set(missing):
        return ", ".join(missing)
    return f"{', '.join(missing)}; of programs that are no networks a ProgramTask has `run` in place of the three"


def interface_problems(interface: TaskInterface) -> Iterator[str]:
    """Yield what is wrong with the types and texts of an interface; the first is worth mending first."""
    for name in ("name", "entry", "header", "prelude", "metric", "size_name"):
        if not isinstance(value := getattr(interface, name), str):
            yield f"interface.{name} must be text; it is {value!r}"
            return
    yield from _import_problems(interface)
    if not interface.entry.isidentifier():
        yield f"interface.entry must be the name of a class or function; it is {interface.entry!r}"
    elif not _is_header(interface):
        yield (
            f"interface.header must begin the class or function {interface.entry} and end in a colon, as in "
            f"'class {interface.entry}(nn.Module):' or 'def {interface.entry}(x):'; it is {interface.header!r}"
        )
    for name, example in (("metric", "val_accuracy"), ("size_name", "num_params")):
        if not getattr(interface, name):
            yield f"interface.{name} must name what prompts show, as in {example!r}; it is ''"
    if interface.metric == interface.size_name:
        yield f"interface.metric and interface.size_name are both {interface.metric!r}, and prompts show both"


def _import_problems(interface: TaskInterface) -> Iterator[str]:
    allowed = interface.allowed_imports
    if isinstance(allowed, str):
        yield f"interface.allowed_imports must be a tuple; ({allowed!r}) is none: write ({allowed!r},)"
    elif not isinstance(allowed, tuple | list) or not all(isinstance(name, str) for name in allowed):
        yield f"interface.allowed_imports must be a tuple of names, as in ('math', 'torch'); it is {allowed!r}"
    try:
        ast.parse(interface.prelude)
    except (SyntaxError, ValueError) as error:
        yield f"interface.prelude must be lines of Python, as in 'import torch\\n'; {error}"


def _is_header(interface: TaskInterface) -> bool:
    try:
        body = ast.parse(f"{interface.header}\n    pass\n").body
    except (SyntaxError, ValueError):
        return False
    is_line = interface.header == interface.header.strip() and "\n" not in interface.header
    return is_line and len(body) == 1 and is_entry(body[0], interface)


def method_problems(task: object) -> Iterator[str]:
    """Yield which methods cannot be called as they will be."""
    for name, arguments in _called(task).items():
        signature = inspect.signature(getattr(task, name))
        if name == "prepare" and "secret" not in signature.parameters:
            arguments = ("seed",)  # a task that always has data of its own may leave it out
        try:
            signature.bind(*arguments)
        except TypeError as error:
            yield f"{name} is called as {name}({', '.join(arguments)}), and is defined as {name}{signature}: {error}"


def _called(task: object) -> Mapping[str, tuple[str, ...]]:
    if not has_programs(type(task)):
        return METHODS
    return {**PROGRAM_METHODS, **{name: called for name, called in _OPTIONAL.items() if hasattr(task, name)}}


def place(error: BaseException, file: str | None) -> str:
    """Return the line of a task's file in which an exception, or the call that led to it, was raised; '' if in none."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" ({file}, line {lines[-1]})" if lines else ""


def hint(error: BaseException, copy: Path) -> str:
    """Return what a user may not know where a task's file looks for what lies beside it; '' for any other error.

    Args:
        copy: the folder that a run keeps its copy of the file in.
    """
    is_relative = isinstance(error, ImportError) and "relative import" in str(error)
    if is_relative or isinstance(error, ModuleNotFoundError):
        return "; of modules beside the task's file a run has no copy: put the code into the file, or install them"
    name = error.filename if isinstance(error, FileNotFoundError) else None
    if isinstance(name, str) and (not Path(name).is_absolute() or Path(name).is_relative_to(copy)):
        return (
            "; a run has a copy of the task's file alone, to which `__file__` leads, and no folder is promised to be "
            "the current one: name the data in task_options, where './data.npz' is seen from the config file"
        )
    return ""
