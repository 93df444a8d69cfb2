"""The entry of a program: the class or function that a task's interface names. Pure."""

from __future__ import annotations

import ast

from evohpc.messages import TaskInterface

NUM_PARAMS = "num_params"
"""What prompts call the size of a network, as the paper does."""


def is_function(task: TaskInterface) -> bool:
    """Say whether candidates define a function, as the header tells; a class otherwise."""
    return task.header.startswith("def ")


def named(task: TaskInterface) -> str:
    """Return the entry as it is spoken of: 'class Model', 'function priority'."""
    return f"{'function' if is_function(task) else 'class'} {task.entry}"


def is_entry(node: ast.AST, task: TaskInterface) -> bool:
    """Say whether a statement defines the entry."""
    kind = ast.FunctionDef if is_function(task) else ast.ClassDef
    return isinstance(node, kind) and node.name == task.entry


def size_column(size_name: str) -> str:
    """Return the heading of a column of sizes, as the task calls them."""
    return "params" if size_name == NUM_PARAMS else size_name


def sized(size: int, size_name: str) -> str:
    """Return a size in words: '4,800 parameters', 'size 48', as the task calls it (`TaskInterface.size_name`)."""
    return f"{size:,} parameters" if size_name == NUM_PARAMS else f"{size_name} {size:,}"


def code(source: str, task: TaskInterface) -> str:
    """Return the entry of a module that parses, from its header on, without what follows it.

    Raises:
        ValueError: the module does not define it.
    """
    for node in ast.parse(source).body:
        if is_entry(node, task):
            return ast.get_source_segment(source, node) or ""  # str.splitlines() would count more lines than Python
    raise ValueError(f"no {named(task)}")
