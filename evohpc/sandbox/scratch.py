"""Temporary folders of evaluations: removed with the process that made them, or by the next one if it was killed."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evohpc.sandbox import removal

log = logging.getLogger(__name__)

_ENOUGH_DISK = 16 << 20
_PREFIX, _LEFT, _LOCK = "evohpc-scratch-", "evohpc-left-", "lock"


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder of this process's own the place of all its temporary files, and remove it at the end.

    A process that is killed (a preempted job) cannot remove its folder. So each holds a lock in it while it lives, and
    whoever comes next on this host removes those of its user that nobody holds.
    """
    before = tempfile.tempdir
    _sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(folder / ".lock", folder / _LOCK)  # a sweeper sees no lock that is not held yet
        tempfile.tempdir = str(folder)
        yield folder
    finally:
        tempfile.tempdir = before
        _discard(folder)
        os.close(lock)


@contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder for what a candidate leaves, and remove it at the end, whatever is in it."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield path
    finally:
        removal.remove(path)


def _sweep(base: Path) -> None:
    """Remove the folders of processes that are gone. None of them may keep this one from its work."""
    for lock in base.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # held, another user's, or another sweeper was faster
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _discard(lock.parent)
            finally:
                os.close(descriptor)


def _discard(folder: Path) -> None:
    """Remove a folder; one that cannot be is given a name that no sweeper looks for again."""
    if not removal.remove(folder):
        with contextlib.suppress(OSError):
            aside = folder.rename(folder.with_name(folder.name.replace(_PREFIX, _LEFT, 1)))
            log.warning("it is %s on this node now; remove it by hand", aside)


def is_full(folder: Path) -> bool:
    """Say whether the disk under a folder is full."""
    left = os.statvfs(folder)
    has_files_left = left.f_favail > 0 or left.f_files == 0  # the latter where their number has no limit
    return left.f_bavail * left.f_frsize < _ENOUGH_DISK or not has_files_left
