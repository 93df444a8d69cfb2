"""What a candidate's stages left, judged: numbers to score, or `Failed` with a status and a reason.

Everything read here is untrusted. The supervisor's word on how a stage ended comes first; of the stage's own report
only failures are believed.
"""

from __future__ import annotations

import math
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from evohpc import envelopes
from evohpc.config.evaluation import EvaluationConfig
from evohpc.errors import EnvelopeError, TaskCodeError
from evohpc.evaluation.stage import protocol
from evohpc.evaluation.stage.protocol import Report
from evohpc.messages import Status
from evohpc.sandbox import outputs
from evohpc.sandbox.base import UNMEASURED, Ending, Outcome, Processor
from evohpc.sandbox.outputs import Untrusted
from evohpc.tasks.base import Score, Task
from evohpc.tasks.data import is_whole
from evohpc.tasks.program import Programs
from evohpc.tasks.rules import place

Predictions = dict[str, np.ndarray[Any, Any]]

_MAX_REPORT_BYTES = 1 << 16
_MAX_CHECKPOINTS = 5000
_MAX_ARRAYS = 100_000
"""Of predictions, in all files together."""
_WORD = 4
"""Bytes of one number in a checkpoint."""
_MAX_DETAIL = 300
_MAX_HEADER = 1 << 20
"""Bytes of a model's names, shapes and types."""
_LARGEST_SIZE = 2**53
_MAX_VALUES, _MAX_NAME = 100, 60

KeepModel = Callable[[bytes, bool], None]
"""Is given a model's safetensors file, and whether the class of the program alone, without the task, can load it."""


class Failed(Exception):
    """The candidate failed: its status, and a line that says how."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, one_line(detail)


def one_line(text: str) -> str:
    """Return text that a candidate chose as at most 300 printable characters: it goes into tables and reports."""
    short = " ".join(text[: 4 * _MAX_DETAIL].split())
    printable = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in short)
    return printable if len(printable) <= _MAX_DETAIL else printable[: _MAX_DETAIL - 3] + "..."


def printable(log: bytes) -> bytes:
    """Return what a candidate printed without control characters and broken UTF-8: people look at it in terminals."""
    text = log.decode(errors="replace")
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text).encode()


def check_ending(
    stage: str, outcome: Outcome, config: EvaluationConfig, used: Processor = UNMEASURED, seconds: float = 0.0
) -> None:
    """Raise `Failed` unless the stage ended by itself. Who ran out of time because others had the processors did so by
    the machine's fault.

    Args:
        used: by this stage and those before it, in so many wall seconds.
    """
    ending = Ending.TIMEOUT if outcome.exit_code == -signal.SIGXCPU else outcome.ending
    if ending is Ending.EXITED:
        return
    late = f"not done after evaluation.time_limit_s = {config.time_limit_s:g}"
    if outcome.ending is Ending.TIMEOUT and used.is_starved(seconds, config.threads):
        asked = used.asked_s(seconds, config.threads)
        raise Failed(Status.LOST, f"{late}: the machine is too busy and gave it {used.cpu_s:.3g} of {asked:.3g} CPU s")
    status, reason = {
        Ending.TIMEOUT: (Status.TIMEOUT, late),
        Ending.OUT_OF_MEMORY: (Status.OUT_OF_MEMORY, f"over evaluation.memory_mb = {config.memory_mb}"),
        Ending.DISK_LIMIT: (Status.DISK_LIMIT, f"over evaluation.disk_mb = {config.disk_mb}, or too many files"),
        Ending.PROCESS_LIMIT: (Status.PROTOCOL_VIOLATION, "too many processes and threads"),
        Ending.SIGNALLED: (Status.TRAIN_ERROR, f"died of {_signal_name(-outcome.exit_code)}"),
    }[ending]
    raise Failed(status, f"{reason}, in the {stage} stage")


def read_report(out: Path) -> Report:
    """Return what a stage says of itself.

    Raises:
        Untrusted: there is no such report.
    """
    try:
        return envelopes.decode(outputs.read_bytes(out / protocol.REPORT, _MAX_REPORT_BYTES), Report)
    except EnvelopeError as error:
        raise Untrusted(f"{protocol.REPORT}: {error}") from None


def check_report(stage: str, out: Path) -> Report:
    """Return a stage's report of success; raise `Failed` with what it says went wrong."""
    try:
        report = read_report(out)
    except Untrusted as error:
        raise Failed(Status.PROTOCOL_VIOLATION, f"{error}, in the {stage} stage") from None
    if report.status == protocol.OK:
        return replace(report, last_row=_bounded(report.last_row))
    if report.status in set(Status) and Status(report.status).is_candidate_fault:
        raise Failed(Status(report.status), report.detail)
    raise Failed(Status.PROTOCOL_VIOLATION, f"reports the status {report.status[:40]!r}")


def _bounded(row: Mapping[str, float]) -> dict[str, float]:
    """Return the last values of a curve under names that can be kept and printed."""
    if len(row) > _MAX_VALUES:
        raise Failed(
            Status.PROTOCOL_VIOLATION, f"reports {len(row)} values of its curve, at most {_MAX_VALUES} are kept"
        )
    return {one_line(name)[:_MAX_NAME]: value for name, value in row.items()}


def take_checkpoints(
    weights: Path, into: Path, config: EvaluationConfig, expected: int | None = None
) -> tuple[int, list[Path]]:
    """Return the size of the model and its checkpoints, in order, copied into a new folder.

    The size is that of a checkpoint: 32-bit words, parameters and buffers, whatever their type. Nothing else of what
    training left reaches the process that predicts: no name, no time, no attribute of a file.

    Args:
        expected: number of checkpoints that the task's recipe keeps; more are more tries, and numbers by themselves.
    """
    into.mkdir()
    try:
        files = outputs.list_files(weights, _MAX_CHECKPOINTS)
        copies = [_copy(path, into / f"{number:05d}", config) for number, path in enumerate(files)]
    except Untrusted as error:
        raise Failed(Status.PROTOCOL_VIOLATION, str(error)) from None
    if expected is not None and len(copies) not in (0, expected):
        reason = f"left {len(copies)} checkpoints, the task's training keeps {expected}"
        raise Failed(Status.PROTOCOL_VIOLATION, reason)
    sizes = {copy.stat().st_size for copy in copies}
    if len(sizes) != 1 or (length := sizes.pop()) % _WORD:
        raise Failed(Status.PROTOCOL_VIOLATION, "left no weights" if not copies else "checkpoints differ in size")
    size = length // _WORD
    if size == 0:
        raise Failed(
            Status.PROTOCOL_VIOLATION, "the weights hold no number: a model has one parameter or buffer at least"
        )
    if size > config.max_params:
        reason = f"the weights hold {size} numbers, evaluation.max_params is {config.max_params}"
        raise Failed(Status.PROTOCOL_VIOLATION, reason)
    return size, copies


def _copy(path: Path, copy: Path, config: EvaluationConfig) -> Path:
    outputs.copy_file(path, copy, _WORD * (config.max_params + 1))  # one more, to be told by their number
    path.unlink()
    return copy


def read_predictions(folder: Path, names: Sequence[str], config: EvaluationConfig) -> list[Predictions]:
    """Return the predictions of the checkpoints of these names."""
    try:
        files = outputs.list_files(folder, _MAX_CHECKPOINTS)
        if [path.name for path in files] != list(names):
            raise Failed(Status.PROTOCOL_VIOLATION, "not one file of predictions for each that was asked for")
        half = config.memory_mb << 19  # the candidate is gone, and of its memory there is room for what is made of them
        budget = outputs.Budget(min(config.disk_mb << 20, half), _MAX_ARRAYS)
        return [outputs.read_arrays(path, budget) for path in files]
    except Untrusted as error:
        raise Failed(Status.PROTOCOL_VIOLATION, str(error)) from None
    except FloatingPointError as error:
        raise Failed(Status.NONFINITE, str(error)) from None


def read_model(path: Path, config: EvaluationConfig) -> bytes:
    """Return the safetensors file of a model, which must be whole and no larger than a model may be."""
    try:
        data = outputs.read_bytes(path, min(config.disk_mb << 20, 2 * _WORD * config.max_params + _MAX_HEADER))
    except Untrusted as error:
        raise Failed(Status.PROTOCOL_VIOLATION, str(error)) from None
    if not is_whole(path):
        raise Failed(Status.PROTOCOL_VIOLATION, f"{path.name} is not as long as its header says")
    return data


def score(task: Task, predictions: list[Predictions], labels: Mapping[str, np.ndarray[Any, Any]]) -> Score:
    """Have the task score predictions. Its error may be NaN or infinite, which `check_finite` refuses.

    Raises:
        Failed: they do not have the shape that the task demands.
        TaskCodeError: `Task.score` is at fault.
    """
    name = task.interface.name
    try:
        answer = task.score(predictions, labels)
    except ValueError as error:
        raise Failed(Status.SHAPE_ERROR, f"{error}{_place(error, task)}") from None
    except Exception as error:
        raise TaskCodeError(f"task {name}: score raised {described(error, task)}") from error
    try:
        metrics, choice = _floats(answer.metrics), _floats(answer.choice)
        curve = {float(step): float(error) for step, error in answer.curve.items()}
        found = replace(answer, error=float(answer.error), metrics=metrics, choice=choice, curve=curve)
    except (AttributeError, TypeError, ValueError):
        raise TaskCodeError(f"task {name}: score must return a Score of numbers; it is {answer!r}") from None
    if found.error < 0:
        raise TaskCodeError(f"task {name}: the error of a score must be 0 or more; it is {found}")
    if found.checkpoint is not None and found.checkpoint not in range(len(predictions)):
        raise TaskCodeError(f"task {name}: score chose checkpoint {found.checkpoint} of {len(predictions)}")
    if task.interface.metric not in found.metrics:
        raise TaskCodeError(f"task {name}: score has no metric {task.interface.metric!r}, which its interface promises")
    return found


def check_finite(found: Score, choice: Mapping[str, float]) -> None:
    """Raise `Failed` unless a score, and what tells of the choice of its checkpoint, are all of finite numbers: a
    correlation of constants, say, is none."""
    numbers = {"error": found.error, **choice, **found.metrics}
    wrong = [f"{name} is {number}" for name, number in numbers.items() if not math.isfinite(number)]
    if wrong:
        raise Failed(Status.NONFINITE, f"the task scores what it predicts, and {', '.join(wrong)}")


def described(error: Exception, task: Task) -> str:
    """Return what a task's code raised, and where in its file."""
    return f"{type(error).__name__}: {error}{_place(error, task)}"


def _place(error: Exception, task: Task) -> str:
    """Return the line of a task's file that an exception went through; '' if the task itself raised a `ValueError`, as
    it should, since that says what is wrong in words of its own."""
    file = getattr(sys.modules.get(task.__module__), "__file__", None)
    frames = traceback.extract_tb(error.__traceback__)
    return "" if isinstance(error, ValueError) and frames[-1].filename == file else place(error, file)


def _floats(numbers: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in numbers.items()}


def fitness(task: Task, num_params: int, error: float) -> float:
    """Have the task rate a candidate.

    Raises:
        TaskCodeError: `Task.fitness` is at fault.
    """
    call = f"task {task.interface.name}: fitness({num_params}, {error})"
    try:
        value = float(task.fitness(num_params, error))
    except Exception as problem:
        raise TaskCodeError(f"{call} raised {described(problem, task)}") from problem
    if not math.isfinite(value):
        raise TaskCodeError(f"{call} is {value}; a fitness is a finite number")
    return value


def size(task: Programs, source: bytes, seconds: float) -> int:
    """Have a task measure a program.

    Args:
        seconds: of CPU time that its runs took.

    Raises:
        TaskCodeError: `ProgramTask.size` is at fault.
    """
    name = f"task {task.interface.name}: size"
    try:
        value = float(task.size(source.decode(errors="replace"), seconds))
    except Exception as problem:
        raise TaskCodeError(f"{name} raised {described(problem, cast(Task, task))}") from problem
    if not 1 <= value < _LARGEST_SIZE:
        raise TaskCodeError(f"{name} is {value:g}; it must be from 1 to {_LARGEST_SIZE:g}, as 1 + milliseconds is")
    return math.ceil(value)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
