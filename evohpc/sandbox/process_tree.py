"""Process trees in /proc (proc(5)): who is in them, how much they use, and how to end them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from evohpc.errors import EvaluationError

_PAGE = os.sysconf("SC_PAGE_SIZE")
_LOOKS, _LOOK_EVERY_S = 5000, 0.002
"""For the end of killed processes. Looks are counted, not seconds: this process may stand still for any time itself."""


def children(pid: int) -> list[int]:
    """Return the children of a process, those that it adopted included; empty if it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    except OSError:
        pass
    return found


def descendants(pid: int, ignore: Collection[int] = ()) -> list[int]:
    """Return the processes under `pid`, not itself, without those in `ignore` and theirs."""
    found: list[int] = []
    pending = [pid]
    while pending:
        fresh = [child for child in children(pending.pop()) if child not in ignore]
        found += fresh
        pending += fresh
    return found


def resident(pids: Collection[int]) -> int:
    """Return the bytes that these processes hold in memory, pages they share counted once each."""
    return sum(_field(pid, "statm", 1) for pid in pids) * _PAGE


def threads(pids: Collection[int]) -> int:
    """Return how many threads these processes have, at least one each."""
    return sum(_field(pid, "stat", 17) for pid in pids)


def unlinked_bytes(pids: Collection[int]) -> int:
    """Return the disk space of files that these processes hold open but that have no name any more."""
    sizes: dict[tuple[int, int], int] = {}
    for pid in pids:
        for status in _open_files(pid):
            if status.st_nlink == 0:
                sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())


def oom_kills() -> int:
    """Return how many processes the kernel's OOM killer has killed on this host, of any user and cgroup."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def kill_descendants(pid: int, ignore: Collection[int] = ()) -> None:
    """Kill all processes under this one, which must be a subreaper, and reap them.

    Raises:
        EvaluationError: some are left after ten seconds (in an uninterruptible system call).
    """
    _stop(pid, ignore)
    for _ in range(_LOOKS):
        tree = descendants(pid, ignore)
        if not tree:
            return
        for member in tree:
            _signal(member, signal.SIGKILL)
        for child in children(pid):
            if child not in ignore:
                _reap(child)
        time.sleep(_LOOK_EVERY_S)
    raise EvaluationError(f"processes {tree[:5]} of a candidate cannot be killed; this node needs a look")


def _stop(pid: int, ignore: Collection[int]) -> None:
    """Stop the tree first: killing a fork bomb one by one while it runs is a race."""
    stopped: set[int] = set()
    for _ in range(100):
        fresh = set(descendants(pid, ignore)) - stopped
        if not fresh:
            return
        for member in fresh:
            _signal(member, signal.SIGSTOP)
        stopped |= fresh


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):  # it may be gone
        os.kill(pid, number)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # it may be reaped already
        os.waitpid(pid, os.WNOHANG)


def _field(pid: int, name: str, index: int) -> int:
    try:
        text = Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[index])


def _open_files(pid: int) -> Iterator[os.stat_result]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for name in names:
        try:
            yield os.stat(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue  # closed in the meantime
