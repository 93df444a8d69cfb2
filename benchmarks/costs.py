"""What a process takes, to its end: CPU and wall seconds, and the peak of its memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    cpu: float
    wall: float
    peak_mb: float


def cost(*command: object) -> Cost:
    """Run a command to its end; return what it took."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", _LAUNCHER, *map(str, command)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    *said, last = done.stderr.splitlines()
    if done.returncode:
        raise SystemExit(f"{command}: {said}")
    return Cost(*json.loads(last))


def evohpc(*words: object) -> list[object]:
    """Return a command of evohpc's."""
    return [sys.executable, "-m", "evohpc", *words]


_LAUNCHER = """
import os, sys, time
started = time.monotonic()
if not (child := os.fork()):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execv(sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(child, 0)
took = [used.ru_utime + used.ru_stime, time.monotonic() - started, used.ru_maxrss / 1024]
print(took, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process: the peak of a child is never less than what its parent had when it was forked."""
