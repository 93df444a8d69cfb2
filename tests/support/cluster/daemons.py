"""Starting and ending daemons that write a pid file."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path


def wait_until(condition: Callable[[], object], what: str, within_s: float = 300.0, every_s: float = 0.05) -> None:
    """Return once a condition holds. The time limit only ends what hangs: it is long for the slowest of machines.

    Raises:
        TimeoutError: it did not in time.
    """
    deadline = time.monotonic() + within_s
    while True:
        is_late = time.monotonic() > deadline  # asked first: this process may stand still for any time itself
        if condition():
            return
        if is_late:
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


def end(file: Path, number: signal.Signals = signal.SIGTERM, within_s: float = 60.0) -> None:
    """End the daemon of a pid file, in the end with SIGKILL, and wait until it is gone: it saves its state, and holds
    its port, to the last."""
    pid = pid_of(file)
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    try:
        wait_until(lambda: not lives(pid), f"pid {pid} is gone", within_s)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not lives(pid), f"pid {pid} is gone", within_s)
    file.unlink(missing_ok=True)


def free_ports(count: int) -> list[int]:
    """Return ports that nothing uses now, nor will by chance: the kernel gives them to no client, whose connection
    would keep a daemon that is down for a moment from coming back."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    others = range(10_000, lowest) if lowest > 20_000 else range(10_000, 60_000)
    return list(itertools.islice(filter(_is_free, random.sample(others, len(others))), count))


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("", port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    """Say whether something accepts connections on a loopback port."""
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex(("127.0.0.1", port)) == 0
