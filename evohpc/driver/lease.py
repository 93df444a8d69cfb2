"""Who drives a run: at most one driver, a second is refused, a dead one is replaced.

RUN/lease/<epoch>.json belongs to one driver; the highest epoch holds the run. A driver takes over by creating the file
of the next epoch with link(2), which exactly one of any number of hosts can do, on NFS too, without file locks. The
deposed driver sees the higher epoch at its next heartbeat, and every transaction of the store checks the epoch.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from evohpc import envelopes
from evohpc.errors import EnvelopeError, LeaseError, StorageError
from evohpc.files import write_atomic, write_once
from evohpc.run_folder import RunDir

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
"""Seconds between heartbeats of a holder."""
DEAD_AFTER_S = 8 * HEARTBEAT_S
"""A holder on another host whose heartbeat counter stands still this long is dead. The counter, not the file's time,
is compared: clocks differ between hosts. It is long, since an NFS client may show an old file for a minute (nfs(5),
acdirmax). A holder that was taken for dead wrongly loses nothing: the store refuses it from then on."""


_OURS: set[Path] = set()
"""Lease files of the drivers in this process, resolved. One that names this process, and is not among them, was left by
a file system that refused after the file had its name."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Content of a lease file."""

    epoch: int
    host: str
    boot_id: str
    """Of the kernel and the PID namespace in which `pid` means something."""
    pid: int
    started: int
    """Start time of the process in clock ticks since boot; tells it from a later one of the same pid."""
    slurm_job_id: str
    beat: int
    released: bool = False

    @classmethod
    def of_this_process(cls, epoch: int) -> Self:
        """Return what the lease file of an epoch says if this process holds it."""
        return cls(
            epoch=epoch,
            host=socket.gethostname(),
            boot_id=_boot_id(),
            pid=os.getpid(),
            started=_started(os.getpid()) or 0,
            slurm_job_id=os.environ.get("SLURM_JOB_ID", ""),
            beat=0,
        )

    def __str__(self) -> str:
        job = f", Slurm job {self.slurm_job_id}" if self.slurm_job_id else ""
        return f"process {self.pid} on {self.host}{job}"


class Lease:
    """A run that this process drives. Make one with `acquire`.

    A context manager: inside it a thread beats, however long a step takes (a task that makes its data, the copy of a
    huge database, an sbatch that hangs, a user who measures a candidate between `ask` and `tell`). Leaving it
    releases the run.
    """

    def __init__(self, folder: Path, holder: Holder) -> None:
        self._folder, self._holder = folder, holder
        self._next_beat = time.monotonic() + HEARTBEAT_S
        self._lock = threading.Lock()
        self._is_left = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_left, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_left.set()
        self._thread.join()
        self.release()

    @property
    def epoch(self) -> int:
        """Grows with each driver of the run."""
        return self._holder.epoch

    def beat(self) -> None:
        """Show that this driver lives, if that is due.

        Raises:
            LeaseError: another driver has taken over.
        """
        with self._lock:
            if time.monotonic() < self._next_beat:
                return
            if max(_epochs(self._folder), default=0) > self.epoch:
                raise LeaseError(f"{self._folder.parent}: another driver has taken over this run; this one stops")
            self._write(replace(self._holder, beat=self._holder.beat + 1))
            self._next_beat = time.monotonic() + HEARTBEAT_S

    def release(self) -> None:
        """Let the next driver start at once."""
        _OURS.discard(_lease_file(self._folder, self.epoch).resolve())
        try:
            self._write(replace(self._holder, released=True))
        except StorageError:  # a full disk still lets files go
            _lease_file(self._folder, self.epoch).unlink(missing_ok=True)

    def _beat_until_left(self) -> None:
        while not self._is_left.wait(HEARTBEAT_S / 4):
            try:
                self.beat()
            except LeaseError:  # the driver's own next beat says so
                return
            except (StorageError, OSError) as error:  # the file system may take the next one
                log.debug("no heartbeat: %s", error)

    def _write(self, holder: Holder) -> None:
        self._holder = holder
        write_atomic(_lease_file(self._folder, holder.epoch), envelopes.encode(asdict(holder)))


def acquire(
    run: RunDir,
    *,
    forgotten: Callable[[], int] = lambda: 0,
    waiting: Callable[[str], None] = lambda message: None,
    sleep: Callable[[float], object] | None = None,
) -> Lease:
    """Become the driver of a run.

    Args:
        forgotten: asked only where lease/ tells of no driver: the last epoch that was given away, should someone have
            removed lease/ since.
        waiting: told when this takes a while.
        sleep: as time.sleep; may raise to end the wait.

    Raises:
        LeaseError: a living driver holds it.
        StorageError: the file system refused.
    """
    waiting = cache(waiting)  # told once, however long it takes
    while True:
        current = _current(run.lease)
        if current is not None and not _is_over(current, run.lease, waiting, sleep or time.sleep):
            if _is_of_an_earlier_start(current):
                continue
            raise LeaseError(
                f"{run.path}: already driven by {current}; wait for it, or stop it, then run the same command again"
            )
        mine = Holder.of_this_process(epoch=1 + (forgotten() if current is None else current.epoch))
        with _may_become_ours(_lease_file(run.lease, mine.epoch)) as path:
            if write_once(path, envelopes.encode(asdict(mine))):
                _forget_before(run.lease, mine.epoch - 1)
                return Lease(run.lease, mine)


@contextmanager
def _may_become_ours(path: Path) -> Iterator[Path]:
    """Count a lease file as one of this process before it has its name, until that is given up."""
    try:
        _OURS.add(path.resolve())
        yield path
    except BaseException:
        _OURS.discard(path.resolve())
        raise


def holder(run: RunDir) -> Holder | None:
    """Return who holds the run, or held it last, unless it was released."""
    current = _current(run.lease)
    return None if current is None or current.released else current


def living(run: RunDir, waiting: Callable[[str], None]) -> Holder | None:
    """Return who holds the run and lives; None if nobody does. A holder on another host is watched as `acquire` does.

    Args:
        waiting: is told that this takes a while, if it does.
    """
    current = _current(run.lease)
    return None if current is None or _is_over(current, run.lease, waiting, time.sleep) else current


def is_alive_here(current: Holder) -> bool | None:
    """Say whether a holder lives, if that can be seen from here; None if it is on another host."""
    if current.host != socket.gethostname() or current.boot_id != _boot_id():
        return None
    return _started(current.pid) == current.started


def _is_of_an_earlier_start(current: Holder) -> bool:
    """Say whether a holder on another host is this Slurm job itself, before it was requeued.

    Its node was taken for down, and the process still beats: Slurm ends it as soon as it reaches that node again, and
    this start is the only one that goes on after that.
    """
    is_requeued = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
    is_same = bool(current.slurm_job_id) and current.slurm_job_id == os.environ.get("SLURM_JOB_ID")
    return is_requeued and is_same and is_alive_here(current) is None


def _is_over(current: Holder, folder: Path, waiting: Callable[[str], None], sleep: Callable[[float], object]) -> bool:
    if current.released:
        return True
    alive = is_alive_here(current)
    if alive is not None:
        is_left = current.pid == os.getpid() and _lease_file(folder, current.epoch).resolve() not in _OURS
        return is_left or not alive
    waiting(f"waiting up to {DEAD_AFTER_S:.0f} s to see whether the driver that holds this run still lives: {current}")
    return _stands_still(current, folder, sleep)


def _stands_still(current: Holder, folder: Path, sleep: Callable[[float], object]) -> bool:
    deadline = time.monotonic() + DEAD_AFTER_S
    while time.monotonic() < deadline:
        sleep(min(1.0, HEARTBEAT_S / 4))
        seen = _current(folder)
        if seen is None or (seen.epoch, seen.beat) != (current.epoch, current.beat):
            return False
        if seen.released:
            return True
    return True


def _current(folder: Path) -> Holder | None:
    """Return the holder of the highest epoch."""
    while epochs := _epochs(folder):
        path = _lease_file(folder, max(epochs))
        try:
            return envelopes.decode(path.read_bytes(), Holder)
        except FileNotFoundError:
            continue  # a successor has tidied up since
        except OSError as error:
            raise StorageError(f"{path}: cannot see who drives this run: {error.strerror}; try again") from None
        except EnvelopeError as error:
            raise LeaseError(f"{path}: {error}; delete this file if no driver of this run is alive") from None
    return None


def _epochs(folder: Path) -> list[int]:
    stems = [name.removesuffix(".json") for name in os.listdir(folder)] if folder.is_dir() else []
    return [int(stem) for stem in stems if stem.isdigit()]


def _lease_file(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch:06d}.json"


def _forget_before(folder: Path, epoch: int) -> None:
    """Remove files older than the predecessor's, whose deposed driver may still look for its successor's."""
    for old in _epochs(folder):
        if old < epoch:
            _lease_file(folder, old).unlink(missing_ok=True)


def _boot_id() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def _started(pid: int) -> int | None:
    """Return field 22 of /proc/PID/stat (proc(5)), or None if there is no such process or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
