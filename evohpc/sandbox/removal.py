"""Removes folders that a hostile program filled: nested beyond every limit of paths and recursion, without any mode.

No path is ever longer than two names: what is nested is first moved up. So neither PATH_MAX nor the number of
descriptors nor Python's stack bounds how deep it may be.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(folder: Path) -> bool:
    """Remove a folder with all that is in it, follow no link, say whether it is gone. A log line names what is left.

    Nobody else may be writing to it. Nothing that is in it makes this raise.
    """
    try:
        with _opened(folder) as descriptor:
            _empty(descriptor)
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError as error:
        log.warning("%s cannot be removed: %s", folder, error.strerror)
        return False
    return True


def _empty(root: int) -> None:
    """Remove what can be removed."""
    names = (f"evohpc-{number}" for number in itertools.count())
    while any([_remove_entry(root, name, names) for name in _names(root)]):
        pass


def _names(folder: int) -> Iterator[str]:
    """Yield what is in a folder, at most a few thousand names: the rest comes in the next round."""
    with os.scandir(folder) as entries:
        found = [entry.name for entry in itertools.islice(entries, 4096)]
    yield from found


def _remove_entry(root: int, name: str, free: Iterator[str]) -> bool:
    """Remove a file, or a folder whose own folders are moved to the root under free names. Say whether that worked."""
    try:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=root).st_mode):
            os.unlink(name, dir_fd=root)
            return True
        with _opened(name, root) as folder:
            while any([_lift(folder, entry, root, free) for entry in _names(folder)]):
                pass
        os.rmdir(name, dir_fd=root)
    except OSError:
        return False
    return True


def _lift(folder: int, name: str, root: int, free: Iterator[str]) -> bool:
    """Remove a file of a folder, or move a folder of it to the root. Say whether that worked."""
    try:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            os.unlink(name, dir_fd=folder)
            return True
        with contextlib.suppress(OSError):
            os.chmod(name, 0o700, dir_fd=folder)  # to change its '..' takes the right to write
        os.rename(name, next(free), src_dir_fd=folder, dst_dir_fd=root)
    except OSError:
        return False
    return True


@contextmanager
def _opened(folder: str | Path, beside: int | None = None) -> Iterator[int]:
    """Open a folder, and make it one that its owner can empty."""
    try:
        descriptor = os.open(folder, _FOLDER, dir_fd=beside)
    except PermissionError:
        os.chmod(folder, 0o700, dir_fd=beside)
        descriptor = os.open(folder, _FOLDER, dir_fd=beside)
    try:
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o700)
        yield descriptor
    finally:
        os.close(descriptor)
