"""Watches one stage from outside: time, memory, disk, processes and output; ends its whole tree."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from evohpc import linux
from evohpc.errors import EvaluationError
from evohpc.sandbox import process_tree
from evohpc.sandbox.base import Ending, Limits, Outcome, Processor

LOOK_EVERY_S = 0.05
"""At memory and processes. What is allocated in between goes over the limit by so much."""
LOOK_AT_DISK_EVERY_S = 0.25
_DEEPEST = 64
"""Folders within folders that are counted."""
_BEING_WRITTEN = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_READ, _CHUNKS = 65536, 64
"""A flood of output must not keep the supervisor from looking at the rest."""


class Abandoned(Exception):
    """The process that asked for this stage is gone; the stage was ended."""


@dataclass
class Supervision:
    """One running stage. Its supervisor must be a subreaper: `prepare()`."""

    child: int
    log: int
    """Read end of the pipe that is its stdout and stderr."""
    out: Path
    limits: Limits
    lifeline: int | None = None
    """Becomes readable when whoever asked for this stage dies."""
    ignore: Collection[int] = ()
    """Other children of the supervisor."""
    _tail: bytearray = field(default_factory=bytearray, init=False)
    _peak: int = field(default=0, init=False)
    _started: float = field(default_factory=time.monotonic, init=False)
    _next_disk: float = field(default=0.0, init=False)
    _cpu_s: float = field(default=0.0, init=False)
    _waited_s: float = field(default=0.0, init=False)
    _oom_kills: int = field(default_factory=process_tree.oom_kills, init=False)

    def wait(self) -> Outcome:
        """Wait for the end of the stage, or bring it about; afterwards no process of it is left.

        Raises:
            Abandoned: nobody waits for the outcome any more.
            EvaluationError: a process of it cannot be killed.
        """
        os.set_blocking(self.log, False)
        try:
            status, ending = self._watch()
        finally:
            process_tree.kill_descendants(os.getpid(), self.ignore)
            self._drain()
        seconds = time.monotonic() - self._started
        code = 0 if status is None else os.waitstatus_to_exitcode(status)
        processor = Processor(self._cpu_s, self._waited_s)
        return Outcome(ending or self._own_ending(code), code, seconds, self._peak, bytes(self._tail), processor)

    def _watch(self) -> tuple[int | None, Ending | None]:
        with selectors.DefaultSelector() as selector, _end_of(self.child) as end:
            for descriptor in (self.log, self.lifeline, end):
                if descriptor is not None:
                    selector.register(descriptor, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(LOOK_EVERY_S)}
                if self.lifeline in ready:
                    raise Abandoned
                if self.log in ready and not self._drain():
                    selector.unregister(self.log)
                pid, status, used = os.wait4(self.child, os.WNOHANG)
                if pid:
                    self._cpu_s = max(self._cpu_s, used.ru_utime + used.ru_stime)
                    return status, None
                if breach := self._breach():
                    return None, breach

    def _drain(self) -> bool:
        """Take what it printed; return False once nobody holds the pipe any more."""
        for _ in range(_CHUNKS):
            try:
                chunk = os.read(self.log, _READ)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self._tail += chunk
            del self._tail[: -self.limits.log_bytes]
        return True

    def _breach(self) -> Ending | None:
        now, limits = time.monotonic(), self.limits
        tree = process_tree.descendants(os.getpid(), self.ignore)
        is_late = now - self._started > limits.wall_s
        if is_late or now >= self._next_disk:
            self._cpu_s = max(self._cpu_s, process_tree.cpu_seconds(tree))
            self._waited_s = max(self._waited_s, process_tree.waited_seconds(tree))
        if is_late:
            return Ending.TIMEOUT
        resident = process_tree.resident(tree)
        self._peak = max(self._peak, resident)
        if resident > limits.memory_bytes:
            return Ending.OUT_OF_MEMORY
        if process_tree.threads(tree) > limits.processes:
            return Ending.PROCESS_LIMIT
        if now >= self._next_disk:
            self._next_disk = now + LOOK_AT_DISK_EVERY_S
            if not fits(self.out, limits, process_tree.unlinked_bytes(tree, _device(self.out))):
                return Ending.DISK_LIMIT
        return None

    def _own_ending(self, code: int) -> Ending:
        if not fits(self.out, self.limits):
            return Ending.DISK_LIMIT
        if code == -9 and process_tree.oom_kills() > self._oom_kills:
            return Ending.OUT_OF_MEMORY
        return Ending.SIGNALLED if code < 0 else Ending.EXITED


@contextmanager
def _end_of(pid: int) -> Iterator[int | None]:
    """Yield a descriptor that becomes readable when a child ends, None where the kernel has none (before 5.3)."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def prepare() -> None:
    """Make this process the one that adopts orphans under it, so that a daemon of a candidate cannot slip away.

    Raises:
        EvaluationError: the kernel refused.
    """
    try:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    except OSError as error:
        raise EvaluationError(f"this host cannot hold a process tree together: {error}") from error


def fits(folder: Path, limits: Limits, already: float = 0) -> bool:
    """Say whether a folder is within the limits of bytes and files; stops counting when it is not.

    A folder that cannot be counted is not: one without the right to read it, or nested too deep.
    """
    total = already
    try:
        for count, status in enumerate(_statuses(folder), start=1):
            total += status.st_blocks * 512
            if total > limits.disk_bytes or count > limits.files:
                return False
    except _Uncountable:
        return False
    return total <= limits.disk_bytes


def _device(folder: Path) -> int:
    try:
        return folder.stat().st_dev
    except OSError:
        return 0


class _Uncountable(Exception):
    """There is a folder that nobody can look into."""


def _statuses(folder: str | Path, beside: int | None = None, depth: int = 0) -> Iterator[os.stat_result]:
    """Yield the status of all in a folder. By descriptors: a path may be longer than the kernel takes."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=beside)
    except OSError as error:
        if error.errno in _BEING_WRITTEN:
            return
        raise _Uncountable from error
    try:
        if depth > _DEEPEST:
            raise _Uncountable
        with os.scandir(descriptor) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    yield entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        yield from _statuses(entry.name, descriptor, depth + 1)
    finally:
        os.close(descriptor)
