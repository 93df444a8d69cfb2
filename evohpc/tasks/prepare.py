"""Makes a run's data once, before the search: `python -m evohpc.tasks.prepare RUN`.

A process of its own, since tasks import torch and the driver does not. data/task.json is written last: where it exists,
all is there and nothing is done. It ends with its driver: the next one begins by removing what is half made, and who
wrote data/task.json after that would vouch for files that are gone.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save

from evohpc import envelopes, linux
from evohpc.config.search import Config, load_resolved
from evohpc.errors import EvohpcError, TaskError
from evohpc.files import write_atomic
from evohpc.run_folder import RunDir, read_provenance
from evohpc.tasks.base import Splits, Task, load_task
from evohpc.tasks.data import secret_digest, write_private
from evohpc.tasks.program import is_program
from evohpc.tasks.rules import hint, place

if TYPE_CHECKING:
    from evohpc.tasks.base import Arrays


def prepare(run: RunDir) -> None:
    """Write data/ and labels/ of a run.

    Raises:
        TaskError: the task cannot be loaded, its `prepare` failed, or the run's secret seed is lost.
        ConfigError, StorageError: the run's config cannot be read, the data not written.
    """
    if run.task_interface.exists():
        return
    config = load_resolved(run.config)
    task = load_task(config.task.moved(run.task_file.resolve()), config.task_options)
    for rung in config.evaluation.rungs:  # better now than at each candidate
        load_task(config.task.moved(run.task_file.resolve()), {**config.task_options, **rung.task_options})
    if config.search.rounds:
        _check_search(task, config, run)
    splits = _splits(task, config, run)
    train, inputs = _encoded(splits.train, "train"), _encoded(splits.inputs, "inputs")
    _check_memory({"training data": train, "validation inputs": inputs}, config.evaluation.memory_mb)
    write_atomic(run.train, train)
    write_atomic(run.inputs, inputs)
    write_private(run.labels, _encoded(splits.labels, "labels"))
    write_atomic(run.task_interface, envelopes.encode(task.interface))


def _check_search(task: Task, config: Config, run: RunDir) -> None:
    try:
        if check := getattr(task, "check_search", None):
            check()
    except ValueError as error:
        raise TaskError(f"task {config.task}: {error}") from error
    except Exception as error:
        raise TaskError(f"task {config.task}: check_search raised {_described(error, run)}") from error


def _secret(run: RunDir) -> int | None:
    """Return a run's secret seed; None for one made by evohpc 0.1.0, which goes on with the data that it has."""
    promised = read_provenance(run).get("secret_sha256", "") if run.provenance.exists() else ""
    if promised and secret_digest(run) != promised:
        raise TaskError(
            f"{run.secret} is missing or altered; put it back from a backup: without it, what the run's candidates "
            "are validated on cannot be drawn again"
        )
    return int(run.secret.read_text(), 16) if run.secret.exists() else None


def _splits(task: Task, config: Config, run: RunDir) -> Splits:
    secret = _secret(run)
    knows_secret = "secret" in inspect.signature(task.prepare).parameters
    try:
        splits = task.prepare(config.search.seed, secret) if knows_secret else task.prepare(config.search.seed)
    except Exception as error:
        raise TaskError(f"task {config.task}: prepare raised {_described(error, run)}") from error
    if not isinstance(splits, Splits):
        raise TaskError(f"task {config.task}: prepare must return Splits, it returned {type(splits).__name__}")
    if is_program(task) and splits.train:
        raise TaskError(f"task {config.task}: prepare returns train data, which no program would get; make it {{}}")
    return splits


def _described(error: Exception, run: RunDir) -> str:
    """Return what a task's `prepare` raised, where in its file, and what a user may not know of that file."""
    where = place(error, str(run.task_file.resolve()))
    return f"{type(error).__name__}: {error}{where}{hint(error, run.path.resolve())}"


def _check_memory(files: Mapping[str, bytes], memory_mb: int) -> None:
    for name, data in files.items():
        if len(data) >= memory_mb << 20:
            raise TaskError(
                f"the task's {name} are {len(data) >> 20} MiB, and evaluation.memory_mb is {memory_mb}: each candidate "
                "reads them whole, so raise it to their size and some hundred MiB more, or make less data"
            )


def _encoded(arrays: Arrays, name: str) -> bytes:
    try:
        return bytes(save({key: np.asarray(array, order="C") for key, array in arrays.items()}))
    except Exception as error:
        raise TaskError(f"prepare: {name} must be numpy arrays of numbers by name: {error}") from None


def main() -> int:
    """Prepare the run named on the command line; one line on stderr says what failed."""
    parser = argparse.ArgumentParser(prog="evohpc.tasks.prepare")
    parser.add_argument("run", type=Path)
    parser.add_argument("--parent", type=int, help="end when this process, the caller, does")
    options = parser.parse_args()
    if options.parent is not None:
        linux.end_with(options.parent)
    try:
        prepare(RunDir(options.run))
    except EvohpcError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
