"""Process trees in /proc (proc(5)): who is in them, how much they use, and how to end them."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Collection, Container, Iterator
from pathlib import Path

from evohpc.errors import EvaluationError

_MEMORY = ("VmRSS", "VmPTE", "VmSwap", "HugetlbPages")
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


def descendants(pid: int, ignore: Container[int] = ()) -> list[int]:
    """Return the processes under `pid`, not itself, without those in `ignore` and theirs."""
    found: list[int] = []
    pending = [pid]
    while pending:
        fresh = [child for child in children(pending.pop()) if child not in ignore]
        found += fresh
        pending += fresh
    return found


def resident(pids: Collection[int]) -> int:
    """Return the bytes that these processes hold in memory: pages, those they share counted once each, in RAM, swapped
    out and huge ones, and the tables of these pages."""
    return sum(_memory(pid) for pid in pids)


def threads(pids: Collection[int]) -> int:
    """Return how many threads these processes have, at least one each."""
    return sum(_field(pid, "stat", 17) for pid in pids)


def cpu_seconds(pids: Collection[int]) -> float:
    """Return the CPU seconds of these processes, those of their threads that have ended included."""
    return sum(_field(pid, "stat", 11) + _field(pid, "stat", 12) for pid in pids) / os.sysconf("SC_CLK_TCK")


def waited_seconds(pids: Collection[int]) -> float:
    """Return how long that thread of these processes which waited longest was ready to run while others ran
    (sched-stats.rst in the kernel's documentation); 0 where the kernel does not tell. Not the sum: many threads that
    wake together wait for each other, each no longer than they run, but in sum for as long as they like."""
    return max(map(_waited_ns, pids), default=0) / 1e9


def unlinked_bytes(pids: Collection[int], device: int) -> float:
    """Return the disk space of files that these processes hold open or mapped but that have no name any more; infinity
    if there is one on the device that is only mapped: nobody can say how large it is.

    Args:
        device: as `os.stat_result.st_dev`.
    """
    living = [_living(pid) for pid in pids]
    # First: what is opened, mapped and unlinked in between would else be mapped, and not among what was open before.
    mapped = {(device, inode) for alive in living for inode in _unlinked_mapped(alive, device)}
    unlinked = [status for alive in living for status in _open_files(alive) if status.st_nlink == 0]
    sizes = {(status.st_dev, status.st_ino): status.st_blocks * 512 for status in unlinked}
    return math.inf if mapped - sizes.keys() else sum(sizes.values())


def oom_kills() -> int:
    """Return how many processes the kernel's OOM killer has killed on this host, of any user and cgroup."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def kill_descendants(pid: int, ignore: Container[int] = ()) -> None:
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


def _stop(pid: int, ignore: Container[int]) -> None:
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
        text = Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return 0
    return int(text.rpartition(b")")[2].split()[index])


def _waited_ns(pid: int) -> int:
    found = 0
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError, IndexError):
                found = max(found, int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[1]))
    return found


def _living(pid: int) -> str:
    """Return the folder in /proc of a process, or of a living thread of it: that of a process whose first thread has
    ended shows neither memory nor files."""
    whole = f"/proc/{pid}"
    if "VmRSS" in _status(whole):
        return whole
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"{whole}/task"):
            if "VmRSS" in _status(f"{whole}/task/{thread}"):
                return f"{whole}/task/{thread}"
    return whole


def _status(folder: str) -> dict[str, str]:
    try:
        lines = _lines(folder, "status")
    except OSError:
        return {}
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


def _lines(folder: str, name: str) -> list[str]:
    """Return the lines of a file in /proc. In names that a process chose the kernel escapes newlines, but nothing else
    at which `splitlines` splits.

    Raises:
        OSError: the process is gone.
    """
    return Path(folder, name).read_bytes().decode(errors="replace").split("\n")


def _memory(pid: int) -> int:
    status = _status(_living(pid))
    return sum(int(status[name].split()[0]) << 10 for name in _MEMORY if name in status)


def _unlinked_mapped(folder: str, device: int) -> Iterator[int]:
    """Yield the inodes of files on a device that are mapped and have no name."""
    number = f"{os.major(device):02x}:{os.minor(device):02x}"
    try:
        lines = _lines(folder, "maps")
    except OSError:
        return
    for line in lines:
        if line.endswith(" (deleted)"):
            _, _, _, where, inode, *_ = line.split(maxsplit=5)
            if where == number:
                yield int(inode)


def _open_files(folder: str) -> Iterator[os.stat_result]:
    try:
        names = os.listdir(f"{folder}/fd")
    except OSError:
        return
    for name in names:
        try:
            yield os.stat(f"{folder}/fd/{name}")
        except OSError:
            continue  # closed in the meantime
