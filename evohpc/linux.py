"""System calls that Python's standard library lacks, and how evohpc starts a Python process."""

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
"""Environment variable with the meaning of `-P`, for programs that start Python themselves."""


SPARING = {"GOMP_SPINCOUNT": "1000"}
"""Environment variable that lets threads of OpenMP that wait for each other sleep after microseconds.

Left alone they spin for milliseconds; where more processes run than there are cores, they keep those from running that
they wait for: a language model's products took eight times the CPU, and 15 times as long (benchmarks/README.md)."""


def spare_cores() -> None:
    """Have this process's threads wait as `SPARING` says, unless its user has chosen. Call it before torch is imported,
    which reads it once."""
    if not {"OMP_WAIT_POLICY", *SPARING} & os.environ.keys():
        os.environ.update(SPARING)


def python(executable: str = "") -> list[str]:
    """Return the first words of a command that starts Python; more options of Python may follow.

    `-P` keeps the current folder out of the import path: a queue.py there would be imported instead of Python's own,
    and a checkout of evohpc instead of the one that is running.

    Args:
        executable: '' stands for the Python that runs this.
    """
    return [executable or sys.executable, "-P"]


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent, whose pid is `parent`, ends in any way (prctl(2))."""
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
    """Have the kernel send `signal` to this process when its parent ends; exit at once if it has ended already."""
    prctl(PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        os._exit(1)


def drop_capabilities() -> None:
    """Give up every capability: without them root is an ordinary user who owns some files.

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
