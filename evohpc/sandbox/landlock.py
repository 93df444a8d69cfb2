"""Landlock: the kernel denies this process every file but those named (landlock(7), Linux 5.13 and later)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from evohpc import linux

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _MAKE_DIR, _MAKE_REG = (1 << bit for bit in (0, 1, 2, 3, 7, 8))
_REMOVE_DIR, _REMOVE_FILE, _REFER, _TRUNCATE, _IOCTL_DEV = (1 << bit for bit in (4, 5, 13, 14, 15))
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
"""Rights that a rule on a file, not a folder, may hold; the kernel refuses others with EINVAL."""

LIST = _READ_DIR
READ = _READ_FILE | _READ_DIR
WRITE = READ | _WRITE_FILE | _MAKE_DIR | _MAKE_REG | _REMOVE_DIR | _REMOVE_FILE | _REFER | _TRUNCATE
"""No links, FIFOs, sockets or devices can be made, so none can be left for the evaluator to trip over."""
DEVICE = _READ_FILE | _READ_DIR | _WRITE_FILE | _IOCTL_DEV

_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""ABI -> how many file system rights it knows."""
_ALL_TCP = 0b11
_ALL_SCOPES = 0b11
"""Abstract UNIX sockets and signals (ABI 6)."""


class _RulesetAttr(ctypes.Structure):
    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def abi() -> int:
    """Return the kernel's Landlock version, 0 if it has none or has it switched off."""
    try:
        return linux.syscall(_CREATE_RULESET, 0, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict(rules: Iterable[tuple[Path, int]]) -> None:
    """Deny this thread, and all that it starts, every file but those at or beneath the given paths, for ever.

    Args:
        rules: path and rights (LIST, READ, WRITE, DEVICE); a path that does not exist is left out.

    Raises:
        OSError: the kernel has no Landlock, or refused.
    """
    version = abi()
    handled = (1 << _RIGHTS.get(version, 16)) - 1
    attr = _RulesetAttr(handled, _ALL_TCP, _ALL_SCOPES)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = linux.syscall(_CREATE_RULESET, ctypes.addressof(attr), size, 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        linux.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        allowed = rights if path.is_dir() else rights & _OF_A_FILE
        rule = _PathBeneathAttr(allowed, descriptor)
        linux.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.addressof(rule), 0)
    finally:
        os.close(descriptor)
