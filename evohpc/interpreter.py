"""Python processes that run evohpc's own modules, wherever they are started."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

ISOLATED = {"PYTHONSAFEPATH": "1"}
"""What `-P` says, for programs that start Python by themselves."""


def python(executable: str = "") -> list[str]:
    """Return the beginning of a command, for the options of Python that come next.

    `-P` leaves out the folder in which a user happens to be: a queue.py there would be imported in place of Python's,
    and a checkout of evohpc in place of the one that is running.

    Args:
        executable: '' is the Python that runs this.
    """
    return [executable or sys.executable, "-P"]


def end_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, its caller, ends in whatever way (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        sys.exit(1)
