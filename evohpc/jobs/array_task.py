"""What one task of a Slurm job array runs on the compute node.

python -u -m evohpc.jobs.array_task WORK RUN ROUND NAME FIRST      WORK: module:function; the others: see `run`
"""

from __future__ import annotations

import os
import pkgutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from evohpc.errors import Ended

Work = Callable[[str, int, str, int], None]
"""(run folder, round, name of the EvaluationJob, index of its task); `evohpc.evaluation.worker.run_array_task`."""


def command(work: Work, run: Path, round: int, name: str, first: int) -> list[str]:
    """Return the arguments of Python that do the work of a task; see `run`. The node must be able to import `work`."""
    return ["-u", "-m", __name__, f"{work.__module__}:{work.__qualname__}", str(run), str(round), name, str(first)]


def run(work: Work, run: str, round: int, name: str, first: int) -> NoReturn:
    """Do the work of this array task, and end its process.

    The scripts of evohpc 0.1 start submitit's worker, which finds this function by its name in a pickle.

    Args:
        first: task of the EvaluationJob that index 0 of this array stands for; a long job is split over several.
    """
    # Slurm says by SIGTERM that SIGKILL follows (KillWait, 30 s): time to remove the scratch folders.
    signal.signal(signal.SIGTERM, _stop)
    work(run, round, name, first + int(os.environ["SLURM_ARRAY_TASK_ID"]))
    # If this returned, submitit's worker would write a result that nobody reads, into a folder that the driver packs
    # and removes as soon as it has the results that count: then the task would fail (sacct: FAILED, --mail-type=FAIL).
    sys.exit(0)


def main(work: str, run_folder: str, round: str, name: str, first: str) -> NoReturn:
    """Do what the command line says."""
    array, index = os.environ["SLURM_ARRAY_JOB_ID"], os.environ["SLURM_ARRAY_TASK_ID"]
    print(f"array task {array}_{index} on {socket.gethostname()}: task {int(first) + int(index)} of {name}")
    run(pkgutil.resolve_name(work), run_folder, int(round), name, int(first))


def _stop(number: int, frame: FrameType | None) -> None:
    raise Ended(128 + number)


if __name__ == "__main__":
    main(*sys.argv[1:])
