"""What one task of a Slurm job array does: the function that submitit's worker calls on the compute node."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

Work = Callable[[str, int, str, int], None]
"""(run folder, round, name of the EvaluationJob, index of its task); `evohpc.evaluation.worker.run_array_task`."""


def run(work: Work, run: str, round: int, name: str, first: int) -> NoReturn:
    """Do the work of this array task, and end its process.

    Args:
        first: task of the EvaluationJob that index 0 of this array stands for; a long job is split over several.
    """
    # submitit ignores SIGTERM. It says that SIGKILL follows (KillWait, 30 s): time to remove the scratch folders.
    signal.signal(signal.SIGTERM, _stop)
    work(run, round, name, first + int(os.environ["SLURM_ARRAY_TASK_ID"]))
    # If this returned, submitit would write a result that nobody reads, into a folder that the driver packs and removes
    # as soon as it has the results that count: then the task would fail (sacct: FAILED, --mail-type=FAIL).
    sys.exit(0)


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
