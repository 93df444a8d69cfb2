"""Forks confined processes, one for each stage, from a parent that has the heavy imports behind it.

    python -c 'import sys; sys.path[:] = [...]; from evohpc.sandbox import fork_server; fork_server.main()' ENTRY

Speaks JSON lines: a `Hello` first, then an `Answer` for each `Launch` on stdin. It runs no untrusted code itself, has
one thread when it forks (threads do not survive a fork, and a lock they hold stays locked), dies with its parent, and
its children get neither its pipes nor its environment. It never touches CUDA, which does not survive a fork either.

Nor does it read a byte that a candidate wrote: for each stage it forks a supervisor, which forks the stage's process,
collects what that prints, answers and ends. A process has a copy of all memory that the one it was forked from ever
wrote to, so what the server itself had read, a later stage would find.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol, cast

from evohpc import envelopes, linux
from evohpc.errors import EvaluationError
from evohpc.sandbox import cgroup, confine, process_tree, supervise
from evohpc.sandbox.answers import Answers
from evohpc.sandbox.base import UNMEASURED, Ending, Limits, Outcome, Processor, Stage

_SET_UP = b"set up"
_ABANDONED = 3
"""Exit code of a supervisor that nobody waits for any more."""


class Entry(Protocol):
    """A module that can be `Stage.entry`."""

    def preload(self) -> dict[str, str]:
        """Import, before any fork, all that is slow to import; return the versions of it."""

    def main(self, inputs: Path, out: Path) -> int:
        """Run a stage in this process; return its exit code."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One stage to run: paths as the server sees them, IN already laid out."""

    entry: str
    """See `Stage.entry`."""
    inputs: str
    readable: tuple[str, ...]
    """What the links in IN lead to."""
    out: str
    limits: Limits
    threads: int
    hidden: tuple[str, ...]
    """See `Stage.hidden`."""

    @classmethod
    def of(cls, stage: Stage, inputs: str, readable: tuple[str, ...], out: str) -> Launch:
        """Return a stage with its folders."""
        return cls(stage.entry, inputs, readable, out, stage.limits, stage.threads, stage.hidden)


@dataclass(frozen=True, slots=True)
class Answer:
    """`Outcome` as JSON; `failure` says why the sandbox, not the candidate, failed."""

    failure: str = ""
    ending: Ending = Ending.EXITED
    exit_code: int = 0
    seconds: float = 0.0
    peak_memory: int = 0
    log: str = ""
    """Latin-1: one character per byte."""
    processor: Processor = UNMEASURED

    def outcome(self) -> Outcome:
        """Return how the stage ended.

        Raises:
            EvaluationError: the sandbox failed.
        """
        if self.failure:
            raise EvaluationError(self.failure)
        log = self.log.encode("latin-1")
        return Outcome(self.ending, self.exit_code, self.seconds, self.peak_memory, log, self.processor)


@dataclass(frozen=True, slots=True)
class Hello:
    """What the server says once it is ready."""

    threads: int
    seconds: float
    """It took to import."""
    versions: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Serve, for as long as this process's parent lives, until stdin ends."""
    linux.die_with_parent(os.getppid(), signal.SIGKILL)
    serve(sys.argv[1])


def serve(name: str) -> None:
    """Import what the stages of an entry need, then run stages until stdin ends.

    Args:
        name: of the entry.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the driver's business
    answers = Answers()
    started = time.monotonic()
    gc.disable()  # there is no garbage in imports worth the sixth of their time that looking for it takes
    versions = _entry(name).preload()
    supervise.prepare()
    gc.freeze()  # or collections in the children would copy every page
    gc.enable()
    threads = len(os.listdir("/proc/self/task"))
    answers.say(envelopes.encode(Hello(threads, time.monotonic() - started, versions)))
    for line in iter(_read_line, b""):
        if not _answer_apart(line, answers):
            return


def _answer_apart(line: bytes, answers: Answers) -> bool:
    """Have a supervisor run a stage and answer; return whether anyone waits for more."""
    server, others = os.getpid(), process_tree.children(os.getpid())
    supervisor = os.fork()
    if supervisor == 0:
        _supervise(line, answers, server)
    code = os.waitstatus_to_exitcode(os.waitpid(supervisor, 0)[1])
    if code not in (0, _ABANDONED):
        process_tree.kill_descendants(server, others)
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}; its message is above"
        answers.say(envelopes.encode(Answer(failure=f"the process that supervises a stage ended ({cause})")))
    return code != _ABANDONED


def _supervise(line: bytes, answers: Answers, server: int) -> NoReturn:
    """Be the supervisor of one stage."""
    code = 1
    try:
        linux.die_with_parent(server, signal.SIGKILL)
        supervise.prepare()
        answers.say(envelopes.encode(_serve(envelopes.decode(line, Launch))))
        code = 0
    except (supervise.Abandoned, SystemExit):
        code = _ABANDONED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _entry(name: str) -> Entry:
    return cast(Entry, importlib.import_module(name))


def _serve(launch: Launch) -> Answer:
    try:
        outcome = run(_entry(launch.entry), launch, lifeline=0)
    except (EvaluationError, OSError) as error:
        return Answer(failure=str(error))
    return Answer(
        "",
        outcome.ending,
        outcome.exit_code,
        outcome.seconds,
        outcome.peak_memory,
        outcome.log.decode("latin-1"),
        outcome.processor,
    )


def run(entry: Entry, launch: Launch, lifeline: int | None = None) -> Outcome:
    """Fork a process for a stage and supervise it. This process must be a subreaper with one thread.

    Raises:
        EvaluationError: the sandbox could not be set up.
        Abandoned: the lifeline broke.
    """
    with cgroup.leaf(launch.limits, cgroup.home()) as leaf:
        outcome, said = _supervised(entry, launch, leaf, lifeline)
    if said != _SET_UP and outcome.ending in (Ending.EXITED, Ending.SIGNALLED):
        raise EvaluationError(f"the sandbox did not start: {said.decode() or f'exit code {outcome.exit_code}'}")
    return outcome


def _supervised(entry: Entry, launch: Launch, leaf: cgroup.Leaf | None, lifeline: int | None) -> tuple[Outcome, bytes]:
    """Return how a stage ended, and what it said before it became the candidate's."""
    log, log_end = os.pipe()
    status, status_end = os.pipe()
    others, parent = process_tree.children(os.getpid()), os.getpid()
    child = os.fork()
    if child == 0:
        _become(entry, launch, leaf, parent, log_end, status_end)
    os.close(log_end)
    os.close(status_end)
    try:
        stage = supervise.Supervision(child, log, Path(launch.out), launch.limits, lifeline, others)
        return stage.wait(), os.read(status, 4096)
    finally:
        os.close(log)
        os.close(status)


def _become(entry: Entry, launch: Launch, leaf: cgroup.Leaf | None, parent: int, log: int, status: int) -> NoReturn:
    """Turn this forked process into the stage's. What fails before `_SET_UP` is written is the machine's fault."""
    try:
        linux.die_with_parent(parent, signal.SIGKILL)
        if leaf is not None:
            leaf.enter()
        out = Path(launch.out)
        confine.detach(log, out, launch.threads)
        confine.close_files(keep=status)
        confine.limit(launch.limits, launch.threads)
        confine.confine([Path(launch.inputs), *map(Path, launch.readable)], out, launch.hidden)
        os.write(status, _SET_UP)
    except BaseException as error:
        os.write(status, f"{type(error).__name__}: {error}".encode()[:1000])
        os._exit(1)
    os.close(status)
    end_with(entry, Path(launch.inputs), out)


def end_with(entry: Entry, inputs: Path, out: Path) -> NoReturn:
    """Run a stage in this process, which ends with it, whatever threads it left running."""
    code = 1
    try:
        code = entry.main(inputs, out)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _read_line() -> bytes:
    """Read a line from descriptor 0 and nothing beyond it, so that `select` sees what is left."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line
