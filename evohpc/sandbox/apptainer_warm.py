"""The container of one candidate: started once, with torch imported once by a fork server that forks its stages."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evohpc import envelopes
from evohpc.errors import EnvelopeError, EvaluationError
from evohpc.sandbox import apptainer_command, apptainer_server, process_tree, supervise
from evohpc.sandbox.apptainer_command import READY, START_WITHIN_S, Bind, Container
from evohpc.sandbox.apptainer_room import Room
from evohpc.sandbox.base import Outcome, Stage
from evohpc.sandbox.fork_server import Answer, Hello

_ANSWER_WITHIN_S = 60.0
"""Beyond a stage's own limit, at which the fork server ends it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What all containers of an evaluating process have in common."""

    host: Container
    more: Sequence[str]
    """Binds of the site."""
    entry: str
    """`Stage.entry` whose imports are made when a container starts."""
    shared: Sequence[Path] = ()
    """Files of this host that are inputs of stages again and again; small ones need not be among them."""
    ahead: bool = False
    """Start a candidate's container while the one before runs."""


class WarmContainer:
    """A container that is starting, or waits for its next stage."""

    def __init__(self, recipe: Recipe) -> None:
        supervise.prepare()
        self._room = Room(recipe.shared)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the container
        self._rest = b""
        self._hello: Hello | None = None
        self._process = subprocess.Popen(
            arguments(recipe, self._room.binds(recipe.more)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=apptainer_command.own_environment(),
            start_new_session=True,
            bufsize=0,
        )
        self._deadline = time.monotonic() + START_WITHIN_S

    def wait(self) -> Hello:
        """Wait until it has started.

        Raises:
            EvaluationError: it does not start.
        """
        if self._hello is None:
            while self._read_line(self._deadline) != READY:
                pass
            self._hello = envelopes.decode(self._read_line(self._deadline), Hello)
        return self._hello

    @property
    def is_alive(self) -> bool:
        """Whether it can still run a stage."""
        return self._process.poll() is None

    def run(self, stage: Stage) -> Outcome:
        """Run a stage to its end; see `Runtime.run`."""
        self.wait()
        assert self._process.stdin is not None
        try:
            with self._room.furnished(stage) as launch:
                self._process.stdin.write((envelopes.encode(launch) + "\n").encode())
                answer = self._read_line(time.monotonic() + stage.limits.wall_s + _ANSWER_WITHIN_S)
                return envelopes.decode(answer, Answer).outcome()
        except (OSError, EnvelopeError) as error:
            raise EvaluationError(f"a container broke: {error}") from error

    def close(self) -> None:
        """End it, whatever runs in it."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        process_tree.kill_descendants(os.getpid(), _Others(self._process.pid))
        self._process.returncode = self._process.returncode or 0  # it was reaped there
        self._said.close()
        self._room.remove()

    def _read_line(self, deadline: float) -> bytes:
        """Return the next line of its stdout, without the end."""
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            if not chunk:
                raise EvaluationError(self._failure(timeout=not ready))
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _failure(self, timeout: bool) -> str:
        self._said.seek(0)
        said = apptainer_command.no_start(self._said.read())
        if self._hello is None:
            return f"not ready after {START_WITHIN_S:g} s; {said}" if timeout else said
        return "a container does not answer" if timeout else f"a container ended by itself; {said}"


@dataclass(frozen=True, slots=True)
class _Others:
    """The children of this process that do not belong to a container. They are looked up each time, not listed before:
    a container that starts beside has helpers whose parents end, and which become children of this process then."""

    session: int
    """Of the container."""

    def __contains__(self, pid: object) -> bool:
        return isinstance(pid, int) and _session(pid) != self.session and pid in process_tree.children(os.getpid())


def arguments(recipe: Recipe, binds: Sequence[Bind]) -> list[str]:
    """Return the command that starts a candidate's container."""
    return apptainer_command.python(recipe.host, binds, apptainer_server.__name__, recipe.entry)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:  # it is gone
        return 0
