"""Starting and ending daemons that write a pid file."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path


def wait_until(condition: Callable[[], object], what: str, within_s: float = 30.0, every_s: float = 0.05) -> None:
    """Return once a condition holds.

    Raises:
        TimeoutError: it did not in time.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {within_s:g} s still not: {what}")
        time.sleep(every_s)


def pid_of(file: Path) -> int | None:
    """Return the process that a pid file names, if it lives."""
    try:
        pid = int(file.read_text())
    except (OSError, ValueError):
        return None
    return pid if lives(pid) else None


def lives(pid: int) -> bool:
    """Say whether a process runs; one that its parent has not reaped yet does not."""
    try:
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def end(file: Path, number: signal.Signals = signal.SIGTERM, within_s: float = 8.0) -> None:
    """End the daemon of a pid file, in the end with SIGKILL."""
    pid = pid_of(file)
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    try:
        wait_until(lambda: pid_of(file) != pid, f"pid {pid} is gone", within_s)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
    file.unlink(missing_ok=True)


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nothing listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def listens(port: int) -> bool:
    """Say whether something accepts connections on a loopback port."""
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex(("127.0.0.1", port)) == 0
