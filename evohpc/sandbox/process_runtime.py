"""The runtime `process`: a forked process, confined as far as this host's kernel allows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evohpc import envelopes
from evohpc.errors import EnvelopeError, EvaluationError
from evohpc.messages import Isolation
from evohpc.sandbox import confine
from evohpc.sandbox.base import Outcome, Stage
from evohpc.sandbox.fork_server import Answer, Hello, Launch

PROGRAM = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from evohpc.sandbox import fork_server; fork_server.main()"
)


class ProcessRuntime:
    """Runs stages in processes forked from one helper that has `entry` imported."""

    def __init__(self, entry: str, isolation: Isolation) -> None:
        """`isolation` is what `probe.probe` found; `entry` the module of all stages."""
        self._entry, self._isolation = entry, isolation
        self._server: subprocess.Popen[bytes] | None = None
        self._hello: Hello | None = None

    @property
    def isolation(self) -> Isolation:
        """What was probed on this host."""
        return self._isolation

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that the helper imported; starts it if need be."""
        return self._start().versions

    def run(self, stage: Stage) -> Outcome:
        """Run a stage to its end; see `Runtime.run`."""
        if stage.entry != self._entry:
            raise ValueError(f"this runtime runs {self._entry}, not {stage.entry}")
        self._start()
        with _laid_out(stage) as inputs:
            readable = tuple(str(path.resolve()) for path in stage.inputs.values())
            launch = Launch.of(stage, str(inputs), readable, str(stage.out))
            return self._ask(launch).outcome()

    def expect_another(self) -> None:
        """The helper is ready for any candidate."""

    def end_candidate(self) -> None:
        """Stages share nothing here that one of them could change."""

    def close(self) -> None:
        """End the helper, and with it a stage that it may be running."""
        server, self._server, self._hello = self._server, None, None
        if server is None:
            return
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.close()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()

    def _start(self) -> Hello:
        if self._server is None or self._hello is None:
            self._server = subprocess.Popen(
                [sys.executable, "-P", "-s", "-W", "ignore", "-c", PROGRAM, json.dumps(_search_path()), self._entry],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=confine.environment("/nonexistent", threads=1),
                start_new_session=True,
            )
            self._hello = envelopes.decode(self._read_line(), Hello)
            if self._hello.threads != 1:
                self.close()
                raise EvaluationError(f"importing {self._entry} started threads; nothing can be forked from it")
        return self._hello

    def _ask(self, launch: Launch) -> Answer:
        assert self._server is not None
        assert self._server.stdin is not None
        try:
            self._server.stdin.write((envelopes.encode(launch) + "\n").encode())
            self._server.stdin.flush()
        except BrokenPipeError:
            pass  # the read below says how it ended
        try:
            return envelopes.decode(self._read_line(), Answer)
        except EnvelopeError as error:
            self.close()
            raise EvaluationError(f"the fork server broke: {error}") from None

    def _read_line(self) -> bytes:
        assert self._server is not None
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            code = self._server.wait()
            self.close()
            cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise EvaluationError(f"the fork server of {self._entry} ended ({cause}); its message is above")
        return line


@contextmanager
def _laid_out(stage: Stage) -> Iterator[Path]:
    """Make IN: the order and a link to each input."""
    with tempfile.TemporaryDirectory(prefix="evohpc-in-") as folder:
        inputs = Path(folder)
        (inputs / "order.json").write_bytes(stage.order)
        for name, path in stage.inputs.items():
            os.symlink(path.resolve(), inputs / name)
        yield inputs


def _search_path() -> list[str]:
    """Return where this process imports from, without the folder it happens to work in."""
    return [entry for entry in sys.path if entry and os.path.isabs(entry)]
