"""The LM job as a process of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from evohpc.errors import storage_error
from evohpc.linux import python
from evohpc.lm_job.base import failure, is_complete, last_error
from evohpc.run_folder import RoundDir

_END_WITHIN_S = 5.0


class LocalLMJob:
    """An `LMJob` as a subprocess of this machine. It ends with the driver, however that ends."""

    held = ""

    def __init__(self) -> None:
        self._round: RoundDir | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self, round: RoundDir) -> None:
        """See `LMJob.start`."""
        is_running = self._process is not None and self._process.poll() is None
        if is_running and self._round == round:
            return
        self.cancel()
        self._round = round
        if not is_complete(round):
            self._process, self._log_start = _spawn(round)

    def poll(self) -> bool:
        """See `LMJob.poll`."""
        assert self._round is not None, "poll() before start()"
        # In this order: a job that completes the file between these two lines has succeeded.
        code = None if self._process is None else self._process.poll()
        if is_complete(self._round):
            self._reap()
            return True
        if self._process is not None and code is None:
            return False
        raise failure(self._round, _what_happened(self._round, code, self._log_start))

    def _reap(self) -> None:
        """Wait a moment until a job that has written all its completions ends by itself; then end it."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_WITHIN_S)
        self.cancel()

    def cancel(self) -> None:
        """See `LMJob.cancel`."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_WITHIN_S)
                break

    def release(self) -> None:
        """See `LMJob.release`. Nothing waits: each request has a process of its own."""

    def close(self) -> None:
        """See `LMJob.close`."""
        self.cancel()


def _spawn(round: RoundDir) -> tuple[subprocess.Popen[bytes], int]:
    """Start the job; return it, and the offset in the round's log, in bytes, where its output begins.

    Raises:
        StorageError: the log cannot be written.
    """
    log = round.lm_log
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            start = out.tell()
            process = subprocess.Popen(
                [*python(), "-m", "evohpc.lm.generate", "--parent", str(os.getpid()), str(round.request)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
            )
            return process, start
    except OSError as error:
        raise storage_error(log, error) from error


def _what_happened(round: RoundDir, code: int | None, log_start: int) -> str:
    """Return why a job ended too early."""
    if code == -signal.SIGKILL:
        return "it was killed, most likely for want of memory (a new search may have a smaller lm.batch_size, lm.dtype)"
    try:
        log = round.lm_log.read_bytes()[log_start:].decode(errors="replace").strip()
    except OSError:
        log = ""
    return last_error(log) or log.rpartition("\n")[2] or f"exit code {code}"
