"""Ctrl-C and a scheduler's signals: they stop a search between two steps, and let what is temporary be tidied up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

from evohpc.errors import Ended

if TYPE_CHECKING:
    from evohpc.cli.progress import Display

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class Stop:
    """The event that a signal sets, and the exit code that it asks for."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.exit_code: int | None = None


@contextmanager
def stop_signals(display: Display) -> Iterator[Stop]:
    """Let Ctrl-C and a scheduler's signals stop the search between two steps; a second Ctrl-C stops it at once."""
    from evohpc.search.driver_job import STOPPED

    stop, is_asked = Stop(), SimpleQueue[bool]()

    def on_signal(number: int, frame: FrameType | None) -> None:
        # Python calls it in the midst of what the main thread does, be that printing or a look at the event; it may
        # wait for no lock of these.
        if stop.exit_code is None:
            stop.exit_code = INTERRUPTED if number == signal.SIGINT else STOPPED
            is_asked.put(True)
        elif number == signal.SIGINT:  # schedulers repeat theirs
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def obey() -> None:
        if is_asked.get():
            with suppress(OSError, SystemExit):  # the terminal may have gone; for a pipe that has, rich exits
                display.note("stopping; press Ctrl-C again to stop at once (nothing is lost either way)")
            stop.event.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    obeying = threading.Thread(target=obey, daemon=True)
    obeying.start()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        is_asked.put(False)
        obeying.join()


@contextmanager
def tidied_up() -> Iterator[None]:
    """Have SIGTERM, as `timeout` and schedulers send it, end what is in here as an exception does: its temporary folder
    may hold gigabytes."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
