"""An array task with a stopwatch: `python benchmarks/array_task.py RUN JOB`, for containers.py; the last line is JSON.

Wall seconds by part, of a process as Slurm starts it (without Slurm's and submitit's own). A part that runs within
another is not counted there.
"""

# ruff: noqa: E402 - importing is a part
from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

IMPORTS_BEGIN = time.clock_gettime(time.CLOCK_BOOTTIME)


from evohpc.evaluation import orders, trial, worker
from evohpc.sandbox import apptainer_runtime, apptainer_stage
from evohpc.sandbox.apptainer_warm import WarmContainer
from evohpc.sandbox.fork_server import Hello

PARTS: dict[str, float] = {}
_INNER = [0.0]
"""Seconds of the parts within each part that is going on."""


def timed(owner: Any, name: str, part: str) -> None:
    """Have a function or method note its wall seconds."""
    original = getattr(owner, name)

    def noting(*arguments: Any, **named: Any) -> Any:
        started = time.monotonic()
        _INNER.append(0.0)
        try:
            return original(*arguments, **named)
        finally:
            seconds = time.monotonic() - started
            note(part, seconds - _INNER.pop())
            _INNER[-1] += seconds

    setattr(owner, name, noting)


def note(part: str, seconds: float) -> None:
    """Add to a part."""
    PARTS[part] = PARTS.get(part, 0.0) + seconds


def timed_wait(original: Callable[[WarmContainer], Hello]) -> Callable[[WarmContainer], Hello]:
    """Return `WarmContainer.wait`, which notes how much of the waiting was for imports."""
    known: dict[WarmContainer, Hello] = {}

    def wait(container: WarmContainer) -> Hello:
        if container not in known:
            started = time.monotonic()
            known[container] = original(container)
            waited = time.monotonic() - started
            imports = min(waited, known[container].seconds)
            note("import of torch, waited for", imports)
            note("start of containers, waited for", waited - imports)
            _INNER[-1] += waited
        return known[container]

    return wait


def python_started() -> float:
    """Return when this process was made, in seconds since boot."""
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run the task, then print its parts."""
    note("start of Python", IMPORTS_BEGIN - python_started())
    note("imports of the evaluator", time.clock_gettime(time.CLOCK_BOOTTIME) - IMPORTS_BEGIN)
    started = time.monotonic()
    for owner, name, part in (
        (worker, "load_resolved", "config"),
        (worker, "load_site", "config"),
        (apptainer_runtime, "find", "probe"),
        (WarmContainer, "__init__", "fork of containers"),
        (WarmContainer, "close", "end of containers"),
        (WarmContainer, "run", "stages"),
        (apptainer_stage, "run", "stages"),
        (trial.Trial, "score", "scoring"),
        (orders, "write_once", "results"),
    ):
        timed(owner, name, part)
    WarmContainer.wait = timed_wait(WarmContainer.wait)  # type: ignore[method-assign, assignment]
    worker.run_array_task(sys.argv[1], 0, sys.argv[2], 0)
    whole = time.monotonic() - started
    note("rest", whole - sum(PARTS.values()) + PARTS["start of Python"] + PARTS["imports of the evaluator"])
    print(json.dumps(PARTS))


if __name__ == "__main__":
    main()
