"""What a stage in a container could still do, found out by trying; an entry of `Stage`."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from evohpc import envelopes
from evohpc.sandbox import confine, landlock

PACKAGES = ("torch", "numpy", "safetensors", "pydantic")
"""What an evaluation image must have."""

_IPC_PRIVATE = 0


@dataclass(frozen=True, slots=True)
class ProbeOrder:
    """IN/order.json of the probe."""

    secret: str
    """File of the host that it must not see."""
    supervisor: int
    """Process of the host that it must not see."""
    hidden: tuple[str, ...] = ()
    """Modules whose places are asked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """OUT/found.json of the probe."""

    weaknesses: tuple[str, ...]
    """In words; none if the container holds."""
    common: tuple[str, ...] = ()
    """What it could do to other stages in its container, or leave for them, in words."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of the packages in the image."""
    has_landlock: bool = True
    """Files are hidden by the kernel; without it, something must be bound over them."""
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    """Of the modules asked for, in the container."""


def preload() -> dict[str, str]:
    """Nothing is slow to import here; see `fork_server.Entry`."""
    return {}


def main(inputs: Path, out: Path) -> int:
    """Try to break out, and write down what worked; see `fork_server.Entry`."""
    order = envelopes.decode((inputs / "order.json").read_bytes(), ProbeOrder)
    tries = {
        "read files of this user": lambda: os.stat(order.secret),
        "see the host's processes": lambda: os.kill(order.supervisor, 0),
        "write to the image": lambda: os.mkdir("/usr/evohpc-probe"),
        "write to its inputs": lambda: os.mkdir(inputs / "probe"),
        "open network connections": _reach_the_network,
    }
    near = {
        "read files beside its own": lambda: os.listdir("/"),
        "leave files": lambda: os.mkdir(out.parent / "probe"),
        "leave shared memory": _make_shared_memory,
        "signal its supervisor": lambda: os.kill(os.getppid(), 0),
        "start processes": _fork,
    }
    places = sorted(confine.hidden_places(order.hidden))
    files, folders = ([str(place) for place in places if place.is_dir() is kind] for kind in (False, True))
    found = Found(
        _working(tries), _working(near), _versions(), landlock.abi() > 0, files=tuple(files), folders=tuple(folders)
    )
    (out / "found.json").write_text(envelopes.encode(found))
    return 0


def _reach_the_network() -> None:
    """A socket alone is harmless in a network namespace that has nothing but its own loopback device."""
    socket.socket().close()
    if {name for _, name in socket.if_nameindex()} <= {"lo"}:
        raise OSError("no network device")


def _make_shared_memory() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.shmget(_IPC_PRIVATE, 4096, 0o600) == -1:
        raise OSError(ctypes.get_errno(), "shmget")


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def _working(tries: Mapping[str, Callable[[], object]]) -> tuple[str, ...]:
    return tuple(words for words, attempt in tries.items() if _works(attempt))


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True
