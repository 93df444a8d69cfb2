from __future__ import annotations

import errno
import io
import signal
import threading
from typing import Any
from unittest.mock import Mock

import pytest
from rich.console import Console

from evohpc import cli
from evohpc.cli.progress import Display

HANG_S = 250
"""No command here takes so long on any machine."""


class Interrupted(io.RawIOBase):
    """A log; a signal comes in the midst of each line but those that answer it."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, line: Any) -> int:
        self.lines.append(bytes(line))
        if not self.lines[-1].startswith(b"stopping"):
            signal.raise_signal(signal.SIGTERM)
        return len(line)


def test_a_signal_in_the_midst_of_a_line_stops_it_cleanly() -> None:
    log = Interrupted()
    display = Display(Console(file=io.TextIOWrapper(io.BufferedWriter(log), line_buffering=True)))
    with cli.signals.stop_signals(display) as stop:
        display.note("training")
        assert stop.event.wait(HANG_S)
    assert b"".join(log.lines).startswith(b"training\nstopping; press Ctrl-C again")
    assert stop.exit_code == 85


@pytest.mark.parametrize("error", [OSError(errno.EIO, "the terminal has gone"), SystemExit(1)])
def test_a_signal_stops_it_where_nobody_can_be_told(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = io.StringIO()
    monkeypatch.setattr(gone, "write", Mock(side_effect=error))
    with cli.signals.stop_signals(Display(Console(file=gone))) as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop.event.wait(HANG_S)


def test_a_signal_while_the_driver_looks_whether_there_was_one_stops_it() -> None:
    """It may hold the lock of the event that moment, so its thread may not set the event, and ends in no handler."""
    setters: list[threading.Thread] = []

    class Noting(threading.Event):
        def set(self) -> None:
            setters.append(threading.current_thread())
            super().set()

    with cli.signals.stop_signals(Display(Console(file=io.StringIO()))) as stop:
        stop.event = Noting()
        signal.raise_signal(signal.SIGTERM)
        assert stop.event.wait(HANG_S)
    assert setters
    assert threading.main_thread() not in setters
