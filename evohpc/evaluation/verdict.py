"""What a candidate's stages left, judged: numbers to score, or `Failed` with a status and a reason.

Everything read here is untrusted. The supervisor's word on how a stage ended comes first; of the stage's own report
only failures are believed.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evohpc import envelopes
from evohpc.config.search import EvaluationConfig
from evohpc.errors import EnvelopeError, TaskError
from evohpc.evaluation.stage import protocol
from evohpc.evaluation.stage.protocol import Report
from evohpc.messages import Status
from evohpc.sandbox import outputs
from evohpc.sandbox.base import Ending, Outcome
from evohpc.sandbox.outputs import Untrusted
from evohpc.tasks.base import Score, Task

Predictions = dict[str, np.ndarray[Any, Any]]

_MAX_REPORT_BYTES = 1 << 16
_MAX_CHECKPOINTS = 5000
_WORD = 4
"""Bytes of one number in a checkpoint."""
_MAX_DETAIL = 300
_SAME = 0.99
"""Share of a checkpoint's predictions that must come out the same when it stands alone; a GPU's sums vary a little."""


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


def check_ending(stage: str, outcome: Outcome, config: EvaluationConfig) -> None:
    """Raise `Failed` unless the stage ended by itself."""
    ending = Ending.TIMEOUT if outcome.exit_code == -signal.SIGXCPU else outcome.ending
    if ending is Ending.EXITED:
        return
    status, reason = {
        Ending.TIMEOUT: (Status.TIMEOUT, f"not done after evaluation.time_limit_s = {config.time_limit_s:g}"),
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
        return report
    if report.status in set(Status) and Status(report.status).is_candidate_fault:
        raise Failed(Status(report.status), report.detail)
    raise Failed(Status.PROTOCOL_VIOLATION, f"reports the status {report.status[:40]!r}")


def take_checkpoints(weights: Path, into: Path, config: EvaluationConfig) -> tuple[int, list[Path]]:
    """Return the size of the model and its checkpoints, in order, copied into a new folder.

    The size is that of a checkpoint: 32-bit words, parameters and buffers, whatever their type. Nothing else of what
    training left reaches the process that predicts: no name, no time, no attribute of a file.
    """
    into.mkdir()
    try:
        files = outputs.list_files(weights, _MAX_CHECKPOINTS)
        copies = [_copy(path, into / f"{number:05d}", config) for number, path in enumerate(files)]
    except Untrusted as error:
        raise Failed(Status.PROTOCOL_VIOLATION, str(error)) from None
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
    copy.write_bytes(outputs.read_bytes(path, config.disk_mb << 20))
    path.unlink()
    return copy


def read_predictions(folder: Path, names: Sequence[str], config: EvaluationConfig) -> list[Predictions]:
    """Return the predictions of the checkpoints of these names."""
    try:
        files = outputs.list_files(folder, _MAX_CHECKPOINTS)
        if [path.name for path in files] != list(names):
            raise Failed(Status.PROTOCOL_VIOLATION, "not one file of predictions for each checkpoint")
        return [outputs.read_arrays(path, config.disk_mb << 20) for path in files]
    except Untrusted as error:
        raise Failed(Status.PROTOCOL_VIOLATION, str(error)) from None
    except FloatingPointError as error:
        raise Failed(Status.NONFINITE, str(error)) from None


def score(task: Task, predictions: list[Predictions], labels: Mapping[str, np.ndarray[Any, Any]]) -> Score:
    """Have the task score predictions.

    Raises:
        Failed: they do not have the shape that the task demands.
        TaskError: `Task.score` is at fault.
    """
    name = task.interface.name
    try:
        answer = task.score(predictions, labels)
    except ValueError as error:
        raise Failed(Status.SHAPE_ERROR, str(error)) from None
    except Exception as error:
        raise TaskError(f"task {name}: score raised {type(error).__name__}: {error}") from error
    try:
        found = Score(float(answer.error), {metric: float(value) for metric, value in answer.metrics.items()})
    except (AttributeError, TypeError, ValueError):
        raise TaskError(f"task {name}: score must return a Score of numbers; it is {answer!r}") from None
    numbers = [found.error, *found.metrics.values()]
    if not all(math.isfinite(number) for number in numbers) or not 0 <= found.error <= 1:
        raise TaskError(f"task {name}: score must be finite and its error in [0, 1]; it is {found}")
    if task.interface.metric not in found.metrics:
        raise TaskError(f"task {name}: score has no metric {task.interface.metric!r}, which its interface promises")
    return found


def fitness(task: Task, num_params: int, error: float) -> float:
    """Have the task rate a candidate.

    Raises:
        TaskError: `Task.fitness` is at fault.
    """
    try:
        value = float(task.fitness(num_params, error))
    except Exception as problem:
        name, kind = task.interface.name, type(problem).__name__
        raise TaskError(f"task {name}: fitness({num_params}, {error}) raised {kind}: {problem}") from problem
    if not math.isfinite(value):
        raise TaskError(f"task {task.interface.name}: fitness({num_params}, {error}) is {value}")
    return value


def check_same(together: Predictions, alone: Predictions) -> None:
    """Raise `Failed` if a checkpoint predicts otherwise when its process sees no other checkpoint.

    Or a model could average all its checkpoints and count as one of them, or try its luck in each.
    """
    same = together.keys() == alone.keys() and all(_is_close(together[name], alone[name]) for name in together)
    if not same:
        raise Failed(Status.PROTOCOL_VIOLATION, "the best checkpoint predicts something else when it stands alone")


def _is_close(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return one.size == 0 or bool(np.isclose(one, other, rtol=1e-2, atol=1e-3).mean() >= _SAME)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
