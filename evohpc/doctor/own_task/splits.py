"""The data that a task makes: whether they are the same again, and whether what a candidate gets tells the labels."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from evohpc.config.search import Config
from evohpc.doctor.base import Finding, fault, ok, warning
from evohpc.run_folder import RunDir
from evohpc.tasks.base import Splits, Task
from evohpc.tasks.program import is_program

Arrays = Mapping[str, np.ndarray[Any, Any]]

_SHARED = 0.1
"""More validation samples than this share, found among those to train on, are no accident."""


def examine(run: RunDir, task: Task, config: Config) -> Iterator[Finding]:
    """Examine the data that a run was made with."""
    kept = Splits(load_file(run.train), load_file(run.inputs), load_file(run.labels))
    size = sum(path.stat().st_size for path in (run.train, run.inputs, run.labels))
    parts = "; ".join(f"{name} {_shapes(getattr(kept, name))}" for name in ("train", "inputs", "labels"))
    yield ok("data", f"{parts}; {size / 2**20:.1f} MiB")
    yield from _made_again(task, config, run, kept)
    yield from _leaks(kept, task)
    yield from _overlaps(kept)


def _shapes(arrays: Arrays) -> str:
    return ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items()) or "nothing"


def _made_again(task: Task, config: Config, run: RunDir, kept: Splits) -> Iterator[Finding]:
    seed, secret = config.search.seed, int(run.secret.read_text(), 16)
    takes_secret = "secret" in inspect.signature(task.prepare).parameters
    again = task.prepare(seed, secret) if takes_secret else task.prepare(seed)
    if differing := _differing(kept, again):
        yield fault(
            "same data again",
            f"prepare makes other {differing} for the same seeds",
            "draw all that is random from its arguments: a run whose data are lost makes them anew",
        )
    if takes_secret and not _differing(kept, task.prepare(seed, secret + 1)):
        yield warning(
            "secret",
            "prepare takes it, and makes the same data whatever it is",
            "draw the validation samples from it, or leave the argument out if the data come from files",
        )


def _differing(one: Splits, other: Splits) -> str:
    """Return the first array in which two splits differ; '' for none."""
    for group in ("train", "inputs", "labels"):
        mine, others = getattr(one, group), getattr(other, group)
        for name in {**mine, **others}:
            if name not in mine or name not in others or not np.array_equal(mine[name], others[name]):
                return f"{group}[{name!r}]"
    return ""


def _leaks(kept: Splits, task: Task) -> Iterator[Finding]:
    """Compare labels with inputs. What a program answers is often checked by its inputs, which `score` then has under
    the same name."""
    checked_by = kept.labels.keys() & kept.inputs.keys() if is_program(task) else set()
    found = [
        f"inputs[{name!r}] {where} labels[{label!r}]"
        for label, truth in kept.labels.items()
        for name, array in kept.inputs.items()
        if not (name == label and name in checked_by) and (where := _tells(array, truth))
    ]
    if found:
        yield fault("labels", f"{found[0]}, which candidates predict from", "leave it out of inputs")
    else:
        but = f", but {', '.join(sorted(checked_by))}, of the same name in both" if checked_by else ""
        yield ok("labels", f"none of them stands among the inputs{but}")


def _tells(array: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> str:
    """Return how an array of inputs tells an array of labels; '' if it does not."""
    if truth.size < 2 or bool((truth == truth.flat[0]).all()):
        return ""
    if array.shape == truth.shape and bool((array == truth).all()):
        return "is"
    if array.ndim == truth.ndim + 1 and array.shape[:-1] == truth.shape:
        columns = [i for i in range(array.shape[-1]) if bool((array[..., i] == truth).all())]
        return f"has in column {columns[0]}" if columns else ""
    return ""


def _overlaps(kept: Splits) -> Iterator[Finding]:
    for name, array in kept.inputs.items():
        others = kept.train.get(name)
        if others is None or array.ndim == 0 or array.shape[1:] != others.shape[1:] or array.dtype != others.dtype:
            continue
        known = {row.tobytes() for row in others}
        shared = sum(row.tobytes() in known for row in array) / max(1, len(array))
        if shared > _SHARED:
            yield warning(
                "validation split",
                f"{shared:.0%} of inputs[{name!r}] are in train[{name!r}] too",
                "validate on samples that no candidate trains on, or it may learn them by heart",
            )
