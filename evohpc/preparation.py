"""Has a run's task make its data, in a process of its own: the driver never imports torch."""

from __future__ import annotations

import os
import subprocess

from evohpc import envelopes
from evohpc.errors import TaskError
from evohpc.interpreter import python
from evohpc.records import TaskInterface
from evohpc.rundir import RunDir


def prepare(run: RunDir) -> TaskInterface:
    """Make data/ and labels/ of a run unless they are there; return what the driver must know of the task.

    Raises:
        TaskError: the task cannot be loaded or its data not made.
    """
    if not run.task_interface.exists():
        command = [*python(), "-m", "evohpc.tasks.prepare", str(run.path), "--parent", str(os.getpid())]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise TaskError(said[-1])
    return envelopes.decode(run.task_interface.read_bytes(), TaskInterface)
