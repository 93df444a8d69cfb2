"""The time in which drivers were at work, over all of them."""

from __future__ import annotations

import json
import time
from pathlib import Path

from evohpc.errors import StorageError
from evohpc.files import read_json, write_atomic

NOTE_EVERY_S = 15.0
"""What a driver that is killed forgets at most."""


class Clock:
    """Counts on from what earlier drivers left."""

    def __init__(self, path: Path) -> None:
        self._path, self._before = path, seconds(path)
        self._started = self._noted = time.monotonic()

    @property
    def hours(self) -> float:
        """Hours of this driver and all before it."""
        return (self._before + time.monotonic() - self._started) / 3600

    def note_if_due(self) -> None:
        """Write it down now and then.

        Raises:
            StorageError: the file system refused.
        """
        if time.monotonic() - self._noted >= NOTE_EVERY_S:
            self.note()

    def note(self) -> None:
        """Write it down.

        Raises:
            StorageError: the file system refused.
        """
        self._noted = time.monotonic()
        write_atomic(self._path, json.dumps({"seconds": round(self.hours * 3600, 1)}) + "\n")


def seconds(path: Path) -> float:
    """Return what a clock's file says; 0 where there is none, or one that is damaged.

    Raises:
        StorageError: it cannot be read now. Who took that for 0 would write over it, and spend a budget twice.
    """
    try:
        return float(read_json(path)["seconds"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0.0
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; try again when it can be read") from error
