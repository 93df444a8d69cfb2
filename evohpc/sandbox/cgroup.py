"""A memory cgroup around a stage, where this user may make one (cgroup v2): the kernel counts what nobody else can.

It is made beside the cgroup of this process, whose parent must be this user's and have the memory controller on, as in
a scope of systemd's user manager; or in the root of a machine or container that is root's own. Elsewhere there is none,
and what `process_tree` counts is all. Both hold where both are there: small objects of the kernel, pipes and shared
memory that nobody has mapped count here alone, and the limit here has room for files on a tmpfs.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from evohpc.sandbox.base import Limits

PROC = Path("/proc")
"""Where the kernel tells of processes and mounts."""
_PREFIX = "evohpc-"
_LOOKS, _LOOK_EVERY_S = 500, 0.01
"""For the end of what a killed evaluator left."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The cgroup of one stage."""

    path: Path

    def enter(self) -> None:
        """Move this process into it; where the kernel refuses, it stays outside."""
        with contextlib.suppress(OSError):
            (self.path / "cgroup.procs").write_text("0")


@contextmanager
def leaf(limits: Limits, home: Path | None = None) -> Iterator[Leaf | None]:
    """Yield a new cgroup with a limit on memory, None where there can be none. What is in it afterwards is killed.

    Args:
        home: where to make it, as `home` returns it.
    """
    made = None if home is None else _make(home, limits)
    try:
        yield made
    finally:
        if made is not None:
            _remove(made.path)


def home() -> Path | None:
    """Return the cgroup in which those of stages can be made; None if there is none. Removes what evaluators left there
    that were killed."""
    own, mount = _own(), _mount()
    if own is None or mount is None:
        return None
    place = mount / own.lstrip("/")
    place = place if place == mount else place.parent
    if not _has_memory(place) or not os.access(place / "cgroup.procs", os.W_OK) or not os.access(place, os.W_OK):
        return None
    for left in place.glob(f"{_PREFIX}*"):
        if not _is_held(left.name):
            _remove(left)
    return place


def _make(home: Path, limits: Limits) -> Leaf | None:
    path = home / f"{_PREFIX}{os.getpid()}-{_started(os.getpid())}"
    try:
        path.mkdir()
        (path / "memory.max").write_text(str(limits.memory_bytes + limits.disk_bytes))
        for name, value in (("memory.oom.group", "1"), ("memory.swap.max", "0")):
            with contextlib.suppress(OSError):  # kernels before 4.19, or without swap
                (path / name).write_text(value)
    except OSError:
        _remove(path)
        return None
    return Leaf(path)


def _remove(path: Path) -> None:
    """Kill what is in a cgroup, and remove it; one that stays is looked at again by the next evaluator."""
    for _ in range(_LOOKS):
        with contextlib.suppress(OSError):
            (path / "cgroup.kill").write_text("1")
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(_LOOK_EVERY_S)
        else:
            return


def _has_memory(place: Path) -> bool:
    """Say whether the cgroups in one have the memory controller; in the root, switch it on."""
    control = place / "cgroup.subtree_control"
    with contextlib.suppress(OSError):
        if not (place / "cgroup.type").exists() and "memory" in (place / "cgroup.controllers").read_text().split():
            control.write_text("+memory")
        return "memory" in control.read_text().split()
    return False


def _is_held(name: str) -> bool:
    """Say whether the process lives that made a cgroup of this name."""
    found = re.fullmatch(rf"{_PREFIX}(\d+)-(\d+)", name)
    return found is None or _started(int(found[1])) == int(found[2])


def _started(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 if there is none."""
    try:
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def _own() -> str | None:
    with contextlib.suppress(OSError):
        for line in (PROC / "self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                return line.removeprefix("0::")
    return None


def _mount() -> Path | None:
    """Return where the hierarchy of cgroup v2 is mounted."""
    with contextlib.suppress(OSError):
        for line in (PROC / "self/mountinfo").read_text().splitlines():
            mounted, _, kind = line.partition(" - ")
            if kind.startswith("cgroup2 "):
                return Path(mounted.split()[4])
    return None
