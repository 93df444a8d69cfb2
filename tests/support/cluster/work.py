"""What the array tasks of the runner's tests do: leave traces. Imported on the nodes, through PYTHONPATH."""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from pathlib import Path

from evohpc.files import write_once


def trace(run: str, round: int, name: str, index: int) -> None:
    """Note the start in RUN/started, wait while RUN/hold is there, note the end in RUN/done."""
    write_once(Path(run, "started", f"{name}.{index}.{uuid.uuid4().hex[:8]}"), os.environ["SLURMD_NODENAME"])
    while Path(run, "hold").exists():
        time.sleep(0.1)
    write_once(Path(run, "done", f"{name}.{index}"), "")


def finish_the_round(run: str, round: int, name: str, index: int) -> None:
    """Bring the last result of a round, so that its driver packs it at once, and removes its folders."""
    shutil.rmtree(Path(run, "rounds"))


def die(run: str, round: int, name: str, index: int) -> None:
    """End without a word."""
    os.kill(os.getpid(), signal.SIGKILL)
