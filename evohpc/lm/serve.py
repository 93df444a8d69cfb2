"""The LM job of a whole run: answers each round's request as it comes.

    python -m evohpc.lm.serve RUN FOLDER --idle-minutes 30 -- PROGRAM...

Runs `PROGRAM... RUN/rounds/NNN/request.json` for the newest request whose completions are missing, writes its output
to the round's log, and then waits for the next request. Each request has a process of its own: what goes wrong in it
(leaked memory, a broken CUDA context) ends with it, and to load a model again costs only seconds. If the program fails,
the job ends with its exit code.

The file `end` in FOLDER says that no job may work there any more. This process writes it before it ends because no
request came: only then may a driver give a request to the next job, so no request is lost at that moment. A driver
writes it when it needs the job no more, or has given the job up; then this process ends, whatever it is doing.

Imports no torch.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from evohpc.errors import EvohpcError, LMError, RunFolderError, storage_error
from evohpc.files import write_atomic
from evohpc.lm import completions_file
from evohpc.lm.log import say, telling
from evohpc.run_folder import RoundDir, RunDir, read_request

END = "end"

_PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Serve the run on the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="evohpc.lm.serve")
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path, help="the job's own, in which `end` ends it")
    parser.add_argument("--idle-minutes", type=float, required=True, help="leave after so long without a request")
    parser.add_argument("--poll-s", type=float, default=2.0, help="seconds between two looks at the run folder")
    parser.add_argument("program", nargs="+", help="answers the request that is its last argument")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what a program leaves behind becomes our child
    signal.signal(signal.SIGTERM, _leave)
    server = Server(RunDir(options.run), options.folder, options.program, 60 * options.idle_minutes, options.poll_s)
    try:
        return server.serve()
    except EvohpcError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        _kill_descendants()


@dataclass
class Server:
    """Answers the requests of one run."""

    run: RunDir
    folder: Path
    program: Sequence[str]
    idle_s: float
    poll_s: float
    _answered: tuple[Path, int, int] | None = field(default=None, init=False)
    """The request that is known to have all its completions."""

    def serve(self) -> int:
        """Answer requests until none comes for too long, the job is ended, or a program fails; return the exit code.

        Raises:
            LMError: the program cannot be started.
            StorageError: the file system refused.
        """
        say(f"waiting for requests in {self.run.rounds}")
        idle_since = time.monotonic()
        while not self._is_ended():
            round = self._next_round()
            if round is not None:
                if code := self._answer(round):
                    return code
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= self.idle_s:
                write_atomic(self.folder / END, f"it had no request for {self.idle_s / 60:g} minutes")
                break
            else:
                time.sleep(self.poll_s)
        say("leaving: no job is to work here any more")
        return 0

    def _is_ended(self) -> bool:
        return END in _names(self.folder)

    def _next_round(self) -> RoundDir | None:
        """Return the newest round if completions are missing in it; earlier rounds have all of theirs."""
        numbers = [int(name) for name in _names(self.run.rounds) if name.isdecimal()]
        round = self.run.round(max(numbers, default=0))
        if round.request.name not in _names(round.path):
            return None
        try:
            identity = _identity(round.request)
            if identity == self._answered:
                return None
            request = read_request(round)
        except (OSError, RunFolderError):
            return None  # the driver, which reads it too, says what is wrong
        if not completions_file.is_complete(round.completions, request):
            return round
        self._answered = identity
        return None

    def _answer(self, round: RoundDir) -> int:
        """Run the program for a round's request.

        Returns:
            0, or if completions are still missing the program's exit code, as shells have it.
        """
        with _open_log(round) as log, telling(f"answering {round.request}"):
            try:
                command = [*self.program, str(round.request)]
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                code = self._wait_for(process)
            except OSError as error:
                raise LMError(f"cannot run {self.program[0]}: {error.strerror}") from None
            finally:
                _kill_descendants()
        if self._is_ended() or self._next_round() != round:
            return 0
        say(f"the program ended with exit code {code}, and completions are missing")
        return 128 - code if code < 0 else code or 1

    def _wait_for(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(self.poll_s)
            if self._is_ended():
                return 0


def _names(folder: Path) -> list[str]:
    """List a folder anew: NFS caches failed look-ups of single names, not the listing."""
    try:
        return os.listdir(folder)
    except OSError:  # not there yet, or a server that does not answer for a moment
        return []


def _identity(path: Path) -> tuple[Path, int, int]:
    """Return what tells a file from another that was put in its place."""
    status = path.stat()
    return path, status.st_ino, status.st_mtime_ns


def _open_log(round: RoundDir) -> IO[bytes]:
    """Open a round's log and write a line into it that this job starts; the driver reads on from that line."""
    path = round.lm_log
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = path.open("ab", buffering=0)
        log.write(f"job {os.environ.get('SLURM_JOB_ID', '')} starts on {platform.node()}\n".encode())
    except OSError as error:
        raise storage_error(path, error) from error
    return log


def _kill_descendants() -> None:
    """Kill all processes under this one; the children of each that dies become its own."""
    with contextlib.suppress(ChildProcessError):  # none is left
        while True:
            for pid in Path("/proc/thread-self/children").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.001)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End at once; the program is ended on the way out."""
    signal.signal(number, signal.SIG_IGN)  # schedulers repeat theirs
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
