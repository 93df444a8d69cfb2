"""The system calls that Python's standard library has no function for, and how evohpc starts a Python."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER = 1, 38, 22, 36
"""prctl(2)."""
_CAPABILITY_VERSION_3 = 0x20080522
"""capset(2)."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

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
    die_with_parent(parent, signal.SIGKILL)


def prctl(option: int, argument: int, pointer: int = 0) -> None:
    """Call prctl(2).

    Raises:
        OSError: the kernel refused.
    """
    words = [ctypes.c_ulong(word) for word in (argument, pointer, 0, 0)]
    if _libc.prctl(ctypes.c_int(option), *words) == -1:
        raise _error(f"prctl({option})")


def syscall(number: int, *arguments: int) -> int:
    """Call a system call by number with integer (or address) arguments; return its value.

    Raises:
        OSError: the kernel refused.
    """
    value = int(_libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments)))
    if value == -1:
        raise _error(f"system call {number}")
    return value


def die_with_parent(parent: int, signal: int) -> None:
    """Have the kernel send `signal` to this process when its parent dies, or leave at once if it already has."""
    prctl(PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        os._exit(1)


def drop_capabilities() -> None:
    """Give up every capability: root without them is a user like others, but for the files that it owns.

    Raises:
        OSError: the kernel refused.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    if _libc.capset(header, data) == -1:
        raise _error("capset")


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
