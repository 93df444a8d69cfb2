"""A seccomp filter (seccomp(2)): no network, no processes of its own, no hand on other processes or the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass

from evohpc import linux
from evohpc.sandbox import syscalls

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_*; another machine has no filter, and so does not reach CONFINED."""

_FILTER_MODE = 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x00010000

# Classic BPF opcodes and the offsets in struct seccomp_data.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


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


def restrict() -> None:
    """Install the filter for this thread and all that it starts, for ever. Call it single-threaded.

    Raises:
        OSError: the kernel refused.
    """
    program = build(os.uname().machine, os.getpid())
    array = (_SockFilter * len(program))(*(_SockFilter(i.code, i.then, i.otherwise, i.value) for i in program))
    fprog = _SockFprog(len(program), array)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_SECCOMP, _FILTER_MODE, ctypes.addressof(fprog))


def build(machine: str, pid: int) -> list[Instruction]:
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
    return [*program, *_limited(syscalls.limited(machine), pid), Instruction(_RETURN, 0, 0, _ALLOW)]


def _limited(numbers: dict[str, int], pid: int) -> list[Instruction]:
    # clone3 hides its flags behind a pointer; on ENOSYS the C library falls back to clone, whose flags can be read.
    program = [Instruction(_EQUAL, 0, 1, numbers["clone3"]), _refuse(errno.ENOSYS)]
    program += _unless(numbers["clone"], Instruction(_ANY_BIT, 0, 1, _CLONE_THREAD))
    for name in ("kill", "tgkill"):
        program += _unless(numbers[name], Instruction(_EQUAL, 0, 1, pid))
    for name in ("prlimit64", "sched_setaffinity"):
        program += _unless(numbers[name], Instruction(_EQUAL, 1, 0, 0), Instruction(_EQUAL, 0, 1, pid))
    # Dying with the supervisor must not be undone.
    program += [
        Instruction(_EQUAL, 0, 4, numbers["prctl"]),
        Instruction(_LOAD, 0, 0, _FIRST_ARGUMENT),
        Instruction(_EQUAL, 0, 1, linux.PR_SET_PDEATHSIG),
        _refuse(errno.EPERM),
        Instruction(_LOAD, 0, 0, _NUMBER),
    ]
    return program


def _unless(number: int, *tests: Instruction) -> list[Instruction]:
    """Refuse a system call unless its first argument passes one of the tests.

    The last test's `then` falls into the ALLOW below and its `otherwise` skips it; earlier ones jump there.
    """
    allow = Instruction(_RETURN, 0, 0, _ALLOW)
    body = [Instruction(_LOAD, 0, 0, _FIRST_ARGUMENT), *tests, allow, _refuse(errno.EPERM)]
    return [Instruction(_EQUAL, 0, len(body), number), *body]


def _refuse(number: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, _ERRNO | number)
