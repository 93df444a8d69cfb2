"""Temporary folders of evaluations: removed with the process that made them, or by the next one if it was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ENOUGH_DISK = 16 << 20
_PREFIX, _LOCK = "evohpc-scratch-", "lock"


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
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep(base: Path) -> None:
    for lock in base.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # held, another user's, or another sweeper was faster
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(descriptor)


def is_full(folder: Path) -> bool:
    """Say whether the disk under a folder is full."""
    left = os.statvfs(folder)
    has_files_left = left.f_favail > 0 or left.f_files == 0  # the latter where their number has no limit
    return left.f_bavail * left.f_frsize < _ENOUGH_DISK or not has_files_left
