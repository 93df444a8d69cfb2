"""Finds out what this host can isolate, by trying to break out of a stage."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evohpc import envelopes
from evohpc.errors import EvaluationError
from evohpc.messages import Isolation
from evohpc.sandbox.base import Ending, Limits, Outcome, Stage
from evohpc.sandbox.process_runtime import ProcessRuntime

_LIMITS = Limits(wall_s=20, memory_bytes=1 << 30, disk_bytes=1 << 20, log_bytes=4096)


@dataclass(frozen=True, slots=True)
class _Order:
    secret: str
    """File outside the stage that it must not be able to read."""
    supervisor: int
    """Process that it must not be able to signal."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a stage on this host could still do."""

    reads_foreign_files: bool
    writes_foreign_files: bool
    opens_sockets: bool
    signals_others: bool
    starts_processes: bool

    @property
    def isolation(self) -> Isolation:
        """CONFINED if it could do none of it."""
        return Isolation.PROCESS if self.weaknesses else Isolation.CONFINED

    @property
    def weaknesses(self) -> list[str]:
        """What it could do, in words."""
        found = {
            "read files of this user": self.reads_foreign_files,
            "write files of this user": self.writes_foreign_files,
            "open network connections": self.opens_sockets,
            "signal other processes": self.signals_others,
            "start processes": self.starts_processes,
        }
        return [words for words, possible in found.items() if possible]


def probe(secret: Path | None = None) -> Probe:
    """Return what a stage on this host can do beyond its own folder.

    Args:
        secret: a file that candidates must not read, e.g. the labels of a run; default: one made for this.

    Raises:
        EvaluationError: a stage cannot even be started.
    """
    runtime = ProcessRuntime(__name__, Isolation.NONE)
    try:
        with tempfile.TemporaryDirectory(prefix="evohpc-probe-") as folder:
            out, canary = Path(folder, "out"), Path(folder, "canary")
            out.mkdir()
            canary.write_text("secret")
            order = envelopes.encode(_Order(str(secret or canary), os.getpid())).encode()
            outcome = runtime.run(Stage(__name__, order, {}, out, _LIMITS, threads=1))
            return _read(outcome, out)
    finally:
        runtime.close()


def require(minimum: Isolation, found: Probe) -> None:
    """Refuse a host that reaches less than is asked.

    Raises:
        EvaluationError: with what a candidate could do here.
    """
    if found.isolation.rank < minimum.rank:
        can = ", ".join(found.weaknesses) or "share the host's file system and process table"
        raise EvaluationError(
            f"{socket.gethostname()} reaches isolation '{found.isolation}', evaluation.minimum_isolation is "
            f"'{minimum}': a candidate here could {can}; evaluate on a host with Landlock and seccomp (Linux 5.13 or "
            f"later), or set evaluation.minimum_isolation to {found.isolation}"
        )


def _read(outcome: Outcome, out: Path) -> Probe:
    try:
        return envelopes.decode((out / "probe.json").read_bytes(), Probe)
    except OSError:
        said = outcome.log.decode(errors="replace").strip().rpartition("\n")[2]
        ended = outcome.ending if outcome.ending is not Ending.EXITED else f"exit code {outcome.exit_code}"
        raise EvaluationError(f"the sandbox cannot be probed on {socket.gethostname()}: {ended}: {said}") from None


def preload() -> dict[str, str]:
    """Nothing is slow to import here; see `fork_server.Entry`."""
    return {}


def main(inputs: Path, out: Path) -> int:
    """Try to break out, and write down what worked; see `fork_server.Entry`."""
    order = envelopes.decode((inputs / "order.json").read_bytes(), _Order)
    canary = Path(order.secret)
    found = Probe(
        reads_foreign_files=_works(canary.read_bytes),
        writes_foreign_files=_works(lambda: os.close(os.open(canary, os.O_WRONLY))),
        opens_sockets=_works(socket.socket),
        signals_others=_works(lambda: _signal(order.supervisor)) or _works(lambda: _have_signalled(order.supervisor)),
        starts_processes=_works(_fork),
    )
    (out / "probe.json").write_text(envelopes.encode(found))
    return 0


def _signal(pid: int) -> None:
    os.kill(pid, 0)


def _have_signalled(pid: int) -> None:
    """Name a process whom the kernel shall tell when a pipe can be read; by which signal is for whoever asks to say."""
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(reading, fcntl.F_SETOWN, pid)
    finally:
        os.close(reading)
        os.close(writing)


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True
