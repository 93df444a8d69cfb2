"""Tasks whose candidates are no networks: the protocol, and how the rest of evohpc sees such a task.

    method    process                       sees candidate code   sees the answers
    prepare   once, before the search       no                    yes
    run       the candidate's               yes                   no (inputs only)
    score     the evaluator's               no                    yes
    size      the evaluator's               as text               no

Nothing is trained and no weights are kept: a candidate is a function or a class, and what it makes of the inputs is
scored outside, against what its process could not read.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from evohpc.evolution import introspection, population, trees
from evohpc.messages import TaskInterface

if TYPE_CHECKING:
    import numpy as np

    from evohpc.tasks.base import Score, Splits

    Arrays = Mapping[str, np.ndarray[Any, Any]]

_TEXT = 8
"""Bytes of a constant that its node pays for."""


class ProgramTask(Protocol):
    """A benchmark of programs. Constructed with the config's `task_options` as keyword arguments.

    It may have a method `size(source, seconds)`, from 1 up, rounded up to a whole number; `seconds` of CPU time were
    measured from outside, for all runs of the candidate together. Without it the size is that of `syntax_nodes`. A
    method `fitness(size, error)`: without it, fitness is -(size x error), the paper's.

    It may have the methods `rows` and `answers` and the attribute `hidden_modules` of a `Task`, the latter for its only
    stage: `{"run": ("my_package.answers",)}`. With `rows`, what is scored was made in two further processes, each with
    half of the rows in another order, and must be what came of all of them.
    """

    interface: TaskInterface

    def prepare(self, seed: int, secret: int | None = None) -> Splits:
        """Make the data, as `Task.prepare`: `inputs` for the candidate, `labels` for `score` alone, and no `train`."""

    def run(self, module: ModuleType, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Call what a candidate's imported module defines; return what it makes of the inputs, as arrays of numbers."""

    def score(self, outputs: dict[str, np.ndarray[Any, Any]], labels: Arrays) -> Score:
        """Score outputs. They are finite numbers of any shape that a candidate chose; check all else here.

        Raises:
            ValueError: the outputs are not what the task demands.
        """


class Programs:
    """A `ProgramTask` in the place of a `Task`: nothing is built, trained or predicted, and all else is as there."""

    runs_programs = True

    def __init__(self, task: ProgramTask) -> None:
        self._task = task
        self.__module__ = type(task).__module__  # where the line of a fault is looked for

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def score(self, predictions: list[dict[str, np.ndarray[Any, Any]]], labels: Arrays) -> Score:
        """Score what came of the only run."""
        return self._task.score(predictions[0], labels)

    def size(self, source: str, seconds: float) -> float:
        """Return the task's size of a program, or the usual one."""
        own = getattr(self._task, "size", None)
        return syntax_nodes(source) if own is None else own(source, seconds)

    def fitness(self, num_params: int, error: float) -> float:
        """Return the task's fitness, or the paper's."""
        own = getattr(self._task, "fitness", None)
        return population.fitness(num_params, error) if own is None else own(num_params, error)


def is_program(task: object) -> bool:
    """Say whether a task that was loaded, or what stands in its place, is one of programs."""
    return getattr(task, "runs_programs", False) is True


def syntax_nodes(source: str) -> int:
    """Return how many nodes the syntax tree of a module has, without imports, docstrings and marks of operators.

    A constant counts one more for each 8 characters of it beyond the first 8, and so does a name for those beyond the
    first 32: a table packed into a string, a long number or a name is no cheaper than one that is written out. Nor is
    one in docstrings or in the names of imports, where the program can see itself (`evolution.introspection`).
    """
    tree = ast.parse(source)
    nodes, is_read = list(trees.walk(tree)), introspection.can_see_itself(tree)
    idle = {id(part) for node in nodes if _is_idle(node, is_read) for part in (node, *trees.children(node))}
    counted = sum(_weight(node) for node in nodes if id(node) not in idle and not isinstance(node, ast.Module))
    return counted + sum(_of_text(len(name) - trees.LONG_NAME) for node in nodes for name in trees.long_names(node))


def _is_idle(node: ast.AST, is_read: bool) -> bool:
    """Say whether a node counts nothing. Docstrings and imports do, if the program `is_read` by itself: the names that
    it imports things under are text as well."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return (is_text or isinstance(node, ast.Import | ast.ImportFrom)) and not is_read


def _weight(node: ast.AST) -> int:
    if isinstance(node, ast.Constant):
        return max(1, _of_text(len(repr(node.value))))
    return int(bool(node._fields))  # those without fields say what another one does, e.g. ast.Add and ast.Load


def _of_text(characters: int) -> int:
    return -(-characters // _TEXT)
