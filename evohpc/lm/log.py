"""The LM job's log: one line at a time, on standard error. Imports no torch."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(line: str) -> None:
    """Write a line, with the rank that it comes from where there are several."""
    who = f"rank {os.environ.get('RANK', '0')}: " if os.environ.get("WORLD_SIZE", "1") != "1" else ""
    sys.stderr.write(f"{who}{line}\n")  # in one piece: print() would write the end of the line after another rank's
    sys.stderr.flush()


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    started = time.monotonic()
    say(what)
    yield
    say(f"{what}: {time.monotonic() - started:.1f} s")
