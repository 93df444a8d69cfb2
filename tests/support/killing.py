"""Kills a driver that runs in this process before the k-th thing it does to the disk, or has the disk refuse it; or
before and after the k-th process that it starts.

As with kill -9, nothing that comes after has an effect: no `finally` can tidy up, as every further step dies, too. As
with a power failure, half of a file that was not synced is lost.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any

import pytest

from evohpc import envelopes
from evohpc.driver import lease
from evohpc.run_folder import RunDir


class Killed(BaseException):
    """What a dead process would not feel."""


class Steps:
    """Counts steps; from number `fatal` on they kill, and number `refused` fails with an error of the file system."""

    def __init__(self, fatal: float, refused: int, code: int) -> None:
        self.taken, self.code, self._fatal, self._refused = 0, code, fatal, refused

    def file(self) -> None:
        """Take a step of the file system."""
        self._take(OSError(self.code, os.strerror(self.code)))

    def database(self) -> None:
        """Take a step of the database, which says in its own way what the file system said."""
        self._take(_of_sqlite(self.code))

    def _take(self, refusal: Exception) -> None:
        if self.taken >= self._fatal:
            raise Killed
        self.taken += 1
        if self.taken - 1 == self._refused:
            raise refusal


@contextmanager
def mortal(fatal: float = float("inf"), refused: int = -1, code: int = errno.ENOSPC) -> Iterator[Steps]:
    """Make each write, rename, removal and statement that changes the database a step; none waits for the disk."""
    steps = Steps(fatal, refused, code)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "link", "unlink", "rmdir", "mkdir"):
            patch.setattr(os, name, _counted(getattr(os, name), steps))
        patch.setattr(os, "fsync", _fsync(steps))
        connect = sqlite3.connect
        patch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=_connection(steps)))
        yield steps


def declare_dead(run: RunDir) -> None:
    """Let the run's holder, which is this process, look like one that has ended."""
    current = lease.holder(run)
    if current is not None:
        (run.lease / f"{current.epoch:06d}.json").write_text(envelopes.encode(asdict(replace(current, started=1))))


def _of_sqlite(code: int) -> sqlite3.OperationalError:
    text, number = {
        errno.ENOSPC: ("database or disk is full", sqlite3.SQLITE_FULL),
        errno.EROFS: ("attempt to write a readonly database", sqlite3.SQLITE_READONLY),
    }.get(code, ("disk I/O error", sqlite3.SQLITE_IOERR))
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = number
    return error


def _fsync(steps: Steps) -> Callable[[int], None]:
    def fsync(descriptor: int) -> None:
        try:
            steps.file()
        except Killed:
            with suppress(OSError):  # a folder
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            raise

    return fsync


def _counted(real: Callable[..., Any], steps: Steps) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        steps.file()
        return real(*args, **kwargs)

    return call


def _connection(steps: Steps) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql.startswith("PRAGMA synchronous"):
                sql = "PRAGMA synchronous=OFF"
            if not sql.startswith(("SELECT", "PRAGMA")):
                steps.database()
            return super().execute(sql, *values)

        def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
            steps.database()
            return super().executemany(sql, rows)

        def commit(self) -> None:
            steps.database()
            super().commit()

    return Connection


class Spawns:
    """Counts starts of processes, two steps each: before it, and after its end, of which nobody hears. Step number
    `fatal` kills, and from then on every step of any kind."""

    def __init__(self, fatal: float) -> None:
        self.taken, self.commands, self.is_dead, self._fatal = 0, list[str](), False, fatal

    def spawn(self) -> None:
        """Take a step."""
        self.is_dead |= self.taken >= self._fatal
        self.feel()
        self.taken += 1

    def feel(self) -> None:
        """Die again, if dead."""
        if self.is_dead:
            raise Killed


@contextmanager
def mortal_when_spawning(fatal: float = float("inf")) -> Iterator[Spawns]:
    """Make each start of a process two steps; none waits for the disk."""
    spawns = Spawns(fatal)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "link", "unlink", "rmdir", "mkdir"):
            patch.setattr(os, name, _felt(getattr(os, name), spawns))
        patch.setattr(os, "fsync", lambda descriptor: spawns.feel())
        patch.setattr(subprocess, "Popen", _popen(spawns))
        yield spawns


def _felt(real: Callable[..., Any], spawns: Spawns) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        spawns.feel()
        return real(*args, **kwargs)

    return call


def _popen(spawns: Spawns) -> type[subprocess.Popen[str]]:
    class Popen(subprocess.Popen[str]):
        def __init__(self, command: list[str], **options: Any) -> None:
            spawns.spawn()
            spawns.commands.append(command[0])
            super().__init__(command, **options)
            try:
                spawns.spawn()
            except Killed:
                self.communicate()  # a process outlives who started it
                raise

    return Popen
