"""A worker process as its parent meets it, dead or alive."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from support.processes import beneath

from evohpc.evaluation.orders import TaskOrder
from evohpc.jobs.worker_process import Worker
from evohpc.messages import Status


def test_one_that_died_before_its_order_loses_it_and_can_be_closed(tmp_path: Path) -> None:
    """What did not get through its pipe is still in the buffer when that is closed."""
    worker = Worker(tmp_path)
    (pid,) = beneath(os.getpid(), "--serve")
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    report = worker.run(TaskOrder(0, "j", 0))
    assert (report.fault, report.reason) == (Status.LOST, "its worker ended: SIGKILL")
    worker.close()
