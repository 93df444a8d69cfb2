"""A seccomp filter (seccomp(2)): no network, no processes of its own, no hand on other processes or the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass

from evohpc import linux
from evohpc.sandbox import syscalls

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_*; another machine has no filter, and so does not reach CONFINED."""

_FILTER_MODE = 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_X32_BIT = 0x40000000
_CLONE_FILES, _CLONE_THREAD = 0x00000400, 0x00010000
_CLOSE_RANGE_UNSHARE = 2
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
_PR_SET_DUMPABLE = 4

_FCNTL = {"F_SETOWN": 8, "F_SETSIG": 10, "F_SETOWN_EX": 15, "F_SETLEASE": 1024, "F_NOTIFY": 1026}
"""The kernel would send a signal of one's choice to whatever process one names, which Landlock does not see before
Linux 6.12; or make others wait for a lease on the run's data."""
_MADVISE = {"MADV_COLD": 20, "MADV_PAGEOUT": 21}
"""They throw pages of a file out of the page cache."""
_LOCKS = {"F_SETLK": 6, "F_SETLKW": 7, "F_OFD_SETLK": 37, "F_OFD_SETLKW": 38}
"""Each takes kernel memory that nobody counts, as many as one likes."""
_IOCTL = {
    **{"FIOSETOWN": 0x8901, "SIOCSPGRP": 0x8902},
    **{"TIOCSCTTY": 0x540E, "TIOCSPGRP": 0x5410, "TIOCSTI": 0x5412, "TIOCLINUX": 0x541C},
}
"""The owner of signals again; and a terminal, into which one could type."""

# Classic BPF opcodes and the offsets in struct seccomp_data.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_FIRST, _SECOND, _THIRD, _FOURTH = 16, 24, 32, 40
"""The lower halves of the arguments. The kernel itself looks at no more of those that are looked at here."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One classic BPF instruction; `then` and `otherwise` count instructions to skip."""

    code: int
    then: int
    otherwise: int
    value: int


class _SockFilter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class _SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_uint16), ("filter", ctypes.POINTER(_SockFilter))]


def is_supported() -> bool:
    """Say whether there is a filter for this machine."""
    return os.uname().machine in ARCHITECTURES


def restrict(with_gpu: bool = False) -> None:
    """Install the filter for this thread and all that it starts, for ever. Call it single-threaded.

    Args:
        with_gpu: allow what the drivers of GPUs may do and nobody else: locks on files, shared memory without a file, a
            choice among its cores.

    Raises:
        OSError: the kernel refused.
    """
    program = build(os.uname().machine, os.getpid(), with_gpu)
    array = (_SockFilter * len(program))(*(_SockFilter(i.code, i.then, i.otherwise, i.value) for i in program))
    fprog = _SockFprog(len(program), array)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_SECCOMP, _FILTER_MODE, ctypes.addressof(fprog))


def build(machine: str, pid: int, with_gpu: bool = False) -> list[Instruction]:
    """Return the program for a machine and the process that it will hold for."""
    program = [
        Instruction(_LOAD, 0, 0, _ARCHITECTURE),
        Instruction(_EQUAL, 1, 0, ARCHITECTURES[machine]),
        _refuse(errno.EPERM),
        Instruction(_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        program += [Instruction(_AT_LEAST, 0, 1, _X32_BIT), _refuse(errno.EPERM)]
    for number in syscalls.refused(machine):
        program += [Instruction(_EQUAL, 0, 1, number), _refuse(errno.EPERM)]
    return [*program, *_limited(syscalls.limited(machine), pid, with_gpu), Instruction(_RETURN, 0, 0, _ALLOW)]


def _limited(numbers: dict[str, int], pid: int, with_gpu: bool) -> list[Instruction]:
    # clone3 hides its flags behind a pointer; on ENOSYS the C library falls back to clone, whose flags can be read.
    program = [Instruction(_EQUAL, 0, 1, numbers["clone3"]), _refuse(errno.ENOSYS)]
    # Threads that share their files: the supervisor looks at those of one of them.
    both = (Instruction(_ANY_BIT, 0, 2, _CLONE_THREAD), Instruction(_ANY_BIT, 0, 1, _CLONE_FILES))
    program += _unless(numbers["clone"], *both)
    for name in ("kill", "tgkill"):
        program += _unless(numbers[name], Instruction(_EQUAL, 0, 1, pid))
    own = Instruction(_EQUAL, 1, 0, 0), Instruction(_EQUAL, 0, 1, pid)
    program += _unless(numbers["prlimit64"], *own)
    if with_gpu:
        program += _unless(numbers["sched_setaffinity"], *own)
    else:  # many threads on one core would look as if others kept them from running
        program += [Instruction(_EQUAL, 0, 1, numbers["sched_setaffinity"]), _refuse(errno.EPERM)]
    program += _except(numbers["madvise"], _THIRD, _MADVISE.values())
    # Dying with the supervisor must not be undone, nor its looking into this process be shut out.
    program += _except(numbers["prctl"], _FIRST, (linux.PR_SET_PDEATHSIG, _PR_SET_DUMPABLE))
    program += _except(numbers["fcntl"], _SECOND, (*_FCNTL.values(), *(() if with_gpu else _LOCKS.values())))
    program += _except(numbers["ioctl"], _SECOND, _IOCTL.values())
    program += _with_all(numbers["close_range"], _THIRD, _CLOSE_RANGE_UNSHARE)
    if not with_gpu:  # such memory stays when it is no longer in anyone's page tables, where it is counted
        program += _with_all(numbers["mmap"], _FOURTH, _MAP_SHARED, _MAP_ANONYMOUS)
    return program


def _except(number: int, argument: int, values: Iterable[int]) -> list[Instruction]:
    """Refuse a system call with one of these values of an argument."""
    tests = [step for value in values for step in (Instruction(_EQUAL, 0, 1, value), _refuse(errno.EPERM))]
    return _looking_at(number, argument, tests)


def _with_all(number: int, argument: int, *bits: int) -> list[Instruction]:
    """Refuse a system call with all of these bits in an argument."""
    tests = [Instruction(_ANY_BIT, 0, len(bits) - place, bit) for place, bit in enumerate(bits)]
    return _looking_at(number, argument, [*tests, _refuse(errno.EPERM)])


def _looking_at(number: int, argument: int, tests: list[Instruction]) -> list[Instruction]:
    body = [Instruction(_LOAD, 0, 0, argument), *tests, Instruction(_LOAD, 0, 0, _NUMBER)]
    return [Instruction(_EQUAL, 0, len(body), number), *body]


def _unless(number: int, *tests: Instruction) -> list[Instruction]:
    """Refuse a system call unless its first argument passes one of the tests.

    The last test's `then` falls into the ALLOW below and its `otherwise` skips it; earlier ones jump there.
    """
    allow = Instruction(_RETURN, 0, 0, _ALLOW)
    body = [Instruction(_LOAD, 0, 0, _FIRST), *tests, allow, _refuse(errno.EPERM)]
    return [Instruction(_EQUAL, 0, len(body), number), *body]


def _refuse(number: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, _ERRNO | number)
