"""The Task protocol: what evohpc must know to search for programs on a benchmark.

Where each method runs matters more than what it does:

    method    process                               sees candidate code   sees labels
    prepare   once, before the search               no                    yes
    build     the candidate's, both stages          yes                   no
    train     the candidate's training stage        yes                   train split only
    predict   the candidate's prediction stage      yes                   no (inputs and weights only)
    score     the evaluator's                       no                    yes

So a candidate can neither see nor set its own score, and what it needs to predict with is counted from the checkpoint
that a fresh process loads.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

from evohpc.config.task_name import TaskName
from evohpc.errors import Ended, TaskError, did_you_mean
from evohpc.messages import TaskInterface
from evohpc.tasks.options import checked
from evohpc.tasks.program import Programs
from evohpc.tasks.rules import has_programs, hint, interface_problems, method_problems, missing_methods, place

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    Arrays = Mapping[str, np.ndarray[Any, Any]]

BUILT_IN = {
    "mnist1d": "evohpc.tasks.mnist1d:Mnist1D",
    "clrs": "evohpc.tasks.clrs.task:Clrs30",
    "clrs_transfer": "evohpc.tasks.clrs.transfer:Transfer",
}
"""Short names of the tasks that evohpc ships."""


@dataclass(frozen=True, slots=True)
class Splits:
    """What `Task.prepare` returns: three groups of named arrays that are kept in three files."""

    train: Arrays
    """Inputs and labels that a candidate trains on."""
    inputs: Arrays
    """Inputs of the validation split, without labels."""
    labels: Arrays
    """Labels of the validation split; only `Task.score` ever gets them."""


@dataclass(frozen=True, slots=True)
class Score:
    """What `Task.score` returns."""

    error: float
    """0 or more, lower is better; compared with search.error_threshold. NaN or infinite: the candidate failed."""
    metrics: dict[str, float]
    """Anything worth keeping; must hold the key `TaskInterface.metric`."""
    checkpoint: int | None = None
    """Index of the checkpoint that was scored; None for the one with the least error when each is scored alone."""
    choice: Mapping[str, float] = field(default_factory=dict)
    """What tells of that choice, e.g. {'best_step': 800}; kept with the metrics."""
    curve: Mapping[float, float] = field(default_factory=dict)
    """The error of each checkpoint by its step (or number), if all were measured: for people, who see it in reports."""


class Task(Protocol):
    """A benchmark. Constructed with the config's `task_options` as keyword arguments.

    It may have an attribute `checkpoints`, the number that its `train` keeps: a candidate that leaves another number
    has replaced the recipe, and is refused. Without it, any number up to 5,000 is taken.

    It may have an attribute `hidden_modules`, those that tell right answers, e.g. by making the data again:
    `{"train": (), "predict": ("my_package.labels",)}`. A candidate's process of that kind can neither import nor read
    them (with Landlock or in a container), so no method that it calls, nor the module of the task, may import them.

    It may have a method `rows(arrays)` that says where the rows of arrays are, of inputs as of predictions: by name the
    group of rows and the axis, e.g. `{name: ("", 0) for name in arrays}` where all have the same rows. Then a candidate
    whose prediction for a row depends on the other rows is refused: what is scored is predicted in other batches than
    what chose the checkpoint, and must be the same. A method `answers(predictions)` returns what is compared, e.g. the
    class with the largest logit; without it the predictions themselves are, numbers up to 1 % of their spread.

    It may have a method `check_search()`, called once before a search of at least one round, that raises ValueError if
    nothing can be found with these options: no child would have another error than its parents.
    """

    interface: TaskInterface

    def prepare(self, seed: int, secret: int | None = None) -> Splits:
        """Make the data, the same for the same seeds; called once per run.

        Args:
            seed: `search.seed`, which candidates may know.
            secret: 128 bits that only the run knows, for samples to validate on that cannot be made again; None in a
                run made by evohpc 0.1.0. A task that always has data of its own may leave out this argument.
        """

    def build(self, module: ModuleType) -> nn.Module:
        """Construct the model of a candidate from its imported module."""

    def train(self, model: nn.Module, data: Arrays, seed: int) -> Iterator[dict[str, float]]:
        """Train in place by the task's fixed recipe. Yield the curve's values (e.g. {'step': 100, 'loss': 0.3}) each
        time the weights are to be kept as a checkpoint, first of all once before any step, so that lazy modules are
        materialised and the cost of a broken model is one batch."""

    def predict(self, model: nn.Module, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Predictions of one checkpoint on the validation inputs."""

    def score(self, predictions: list[dict[str, np.ndarray[Any, Any]]], labels: Arrays) -> Score:
        """Choose among the predictions of all checkpoints, in order, and score them. Called again with the chosen one
        alone, as it predicts in a process that sees no other; that score counts. Arrays are finite; their shapes must
        be checked here.

        Raises:
            ValueError: the predictions do not have the shape or dtype that the task demands.
        """

    def fitness(self, num_params: int, error: float) -> float:
        """Higher is better. The paper: `-num_params * error` (section 3)."""


def load_task(name: TaskName, options: Mapping[str, Any]) -> Task:
    """Return the task that a config names. A `ProgramTask`, told by its method `run`, comes as `program.Programs`.

    Raises:
        TaskError: no such task, a file that cannot be imported, or a class that is neither.
    """
    if name.file is not None:
        return _construct(_import_file(name.file), name.name, str(name.file), options)
    if name.name not in BUILT_IN:
        choice = f"{did_you_mean(name.name, BUILT_IN)}write one of {', '.join(BUILT_IN)}, or path/to/file.py:ClassName"
        raise TaskError(f"unknown task {name.name!r}; {choice}")
    where, _, class_name = BUILT_IN[name.name].partition(":")
    return _construct(importlib.import_module(where), class_name, where, options)


def hidden_modules(task: Task, kind: str) -> tuple[str, ...]:
    """Return the modules that a task hides from the stages of a kind."""
    found: Mapping[str, Sequence[str]] = getattr(task, "hidden_modules", {})
    return tuple(found.get(kind, ()))


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TaskError(f"{path}: no such task file")
    name = f"evohpc_task_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TaskError(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise TaskError(f"{path}, line {error.lineno or 1}: {error.msg}") from None
    except Ended:
        raise
    except (Exception, SystemExit) as error:
        where = place(error, str(path))[2:-1] or str(path)
        raise TaskError(
            f"{where}: importing it raised {type(error).__name__}: {error}{hint(error, path.parent)}"
        ) from error
    return module


def _construct(module: ModuleType, class_name: str, where: str, options: Mapping[str, Any]) -> Task:
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        classes = (kind for kind in vars(module).values() if isinstance(kind, type))
        own = [kind.__name__ for kind in classes if kind.__module__ == module.__name__]
        raise TaskError(f"{where} has no class {class_name}; its classes: {', '.join(own) or 'none'}")
    kind, name = "ProgramTask" if has_programs(cls) else "Task", f"{where}:{class_name}"
    if missing := missing_methods(cls):
        raise TaskError(f"{name} is no {kind}: it lacks {missing}")
    task = _instance(cls, name, getattr(module, "__file__", None) or "", options)
    if not isinstance(getattr(task, "interface", None), TaskInterface):
        raise TaskError(f"{name} is no {kind}: its `interface` is not a TaskInterface")
    for problem in chain(_hiding_problems(task), interface_problems(task.interface), method_problems(task)):
        raise TaskError(f"{name}: {problem}")
    return cast(Task, Programs(task) if has_programs(cls) else task)


def _instance(cls: type, name: str, file: str, options: Mapping[str, Any]) -> Any:
    try:
        wanted = checked(cls, options)
    except ValueError as error:
        raise TaskError(f"{name}: task_options: {error}") from None
    try:
        return cls(**wanted)
    except Exception as error:
        described = f"{error}{place(error, file)}{hint(error, Path(file).parent)}"
        known = inspect.signature(cls).parameters.values()
        is_all = all(option.kind is not option.VAR_KEYWORD for option in known)
        more = f"; its options: {', '.join(option.name for option in known) or 'none'}" if is_all else ""
        raise TaskError(f"{name}: task_options {dict(options)}: {described}{more}") from error


def _hiding_problems(task: object) -> Iterator[str]:
    stages = {"run"} if has_programs(type(task)) else {"train", "predict"}
    if not _can_be_hidden(getattr(task, "hidden_modules", {}), stages):
        right = {name: ("my_package.labels",) for name in sorted(stages)}
        yield f"`hidden_modules` must name modules by stage, as {right} does"


def _can_be_hidden(names: object, stages: set[str]) -> bool:
    if not isinstance(names, Mapping) or not names.keys() <= stages:
        return False
    lists = [each for each in names.values() if isinstance(each, tuple | list)]
    return len(lists) == len(names) and all(isinstance(name, str) for each in lists for name in each)
