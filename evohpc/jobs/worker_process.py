"""One worker process, `python -m evohpc.evaluation.worker --serve RUN`, seen from the process that feeds it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from evohpc import envelopes
from evohpc.errors import EvaluationError
from evohpc.evaluation.orders import TaskOrder
from evohpc.jobs.shares import WHOLE, Share
from evohpc.linux import python
from evohpc.messages import Status, TaskReport, TaskState

CLOSE_WITHIN_S = 10.0


class Worker:
    """One worker process. It dies with the process that made it, however that ends."""

    def __init__(self, run: Path, share: Share = WHOLE) -> None:
        """`share` is what it may use of what this process has."""
        command = [*python(), "-m", "evohpc.evaluation.worker", "--serve", str(run), "--parent", str(os.getpid())]
        cores = ["--cores", *map(str, share.cores)] if share.cores else []
        self._process = subprocess.Popen(
            [*command, "--gpu-share", str(share.gpu), *cores],
            env={**os.environ, **share.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._is_stopped = False

    @property
    def is_alive(self) -> bool:
        """Whether it takes another task."""
        return not self._is_stopped and self._process.poll() is None

    def run(self, order: TaskOrder) -> TaskReport:
        """Have a task, or an attempt of one, evaluated; return when it is over, one way or the other.

        Raises:
            EvaluationError: this machine, or this share of it, cannot evaluate candidates at all.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            print(envelopes.encode(order), file=stdin, flush=True)
            answer = stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            return TaskReport(TaskState.ENDED, Status.LOST, f"its worker ended: {_how(self._process.wait())}")
        refusal = json.loads(answer)["refusal"]
        if refusal:
            raise EvaluationError(refusal)
        return TaskReport(TaskState.ENDED)

    def stop(self) -> None:
        """End its candidate and itself, at once."""
        self._is_stopped = True
        self._process.terminate()

    def close(self) -> None:
        """Wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # an order that it did not live to read is still in the buffer
            self._process.stdin.close()
        try:
            self._process.wait(CLOSE_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
