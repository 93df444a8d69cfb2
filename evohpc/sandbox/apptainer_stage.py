"""A container for each stage of a candidate: where no kernel keeps the stages in one container from each other.

It is supervised from outside, as what runs in it could lay hands on a supervisor inside.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from evohpc import envelopes
from evohpc.errors import EvaluationError
from evohpc.sandbox import apptainer_command, apptainer_entry, process_tree, supervise
from evohpc.sandbox.apptainer_command import PACKAGE, READY, START_WITHIN_S, Bind, Container
from evohpc.sandbox.apptainer_entry import Contained
from evohpc.sandbox.base import Ending, Outcome, Stage

_NOTHING = "nothing"


def run(host: Container, more: Sequence[str], stage: Stage, masks: Sequence[Bind] = ()) -> Outcome:
    """Run a stage to its end.

    Args:
        more: binds of the site.
        masks: bound over what has been bound before, or is in the image.

    Raises:
        EvaluationError: no container starts here.
    """
    supervise.prepare()
    others = process_tree.children(os.getpid())
    with _laid_out(stage) as inputs:
        child, log = _launch(arguments(host, more, stage, inputs, masks))
        try:
            _wait_for_start(log)
            oom_kills = process_tree.oom_kills()
            outcome = supervise.Supervision(child.pid, log, stage.out, stage.limits, ignore=others).wait()
            return _seen_through(outcome, process_tree.oom_kills() > oom_kills)
        finally:
            process_tree.kill_descendants(os.getpid(), others)
            child.returncode = child.returncode or 0  # it was reaped there
            os.close(log)


def arguments(
    host: Container, more: Sequence[str], stage: Stage, inputs: Path, masks: Sequence[Bind] = ()
) -> list[str]:
    """Return the command that runs a stage; see `run`.

    Args:
        inputs: folder of this host that becomes IN; beside it is an empty one.
    """
    own = apptainer_command.binds(inputs, stage.inputs, stage.out.resolve(), PACKAGE, more)
    binds = [*apptainer_command.over_memory(inputs.with_name(_NOTHING)), *own, *masks]
    launch = envelopes.encode(Contained(stage.entry, stage.limits, stage.threads, stage.hidden))
    return apptainer_command.python(host, binds, apptainer_entry.__name__, launch)


def _launch(arguments: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Start a container; return it with the read end of its output."""
    log, log_end = os.pipe()
    try:
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log_end,
            stderr=log_end,
            env=apptainer_command.own_environment(),
            start_new_session=True,
        )
    finally:
        os.close(log_end)
    return child, log


def _seen_through(outcome: Outcome, oom_kill: bool) -> Outcome:
    """Translate exit codes: Apptainer reports the death of its process by signal N as 128 + N, as a shell does."""
    number = outcome.exit_code - 128
    if outcome.ending is not Ending.EXITED or number not in set(signal.Signals):
        return outcome
    killed = number == signal.SIGKILL and oom_kill
    return replace(outcome, ending=Ending.OUT_OF_MEMORY if killed else Ending.SIGNALLED, exit_code=-number)


def _wait_for_start(log: int) -> None:
    """Read what Apptainer says, up to the line that the stage begins with, and not a byte more."""
    deadline, said = time.monotonic() + START_WITHIN_S, b""
    while not said.endswith(READY + b"\n"):
        ready, _, _ = select.select([log], [], [], max(0.0, deadline - time.monotonic()))
        byte = os.read(log, 1) if ready else b""
        if not byte:
            cause = "" if ready else f"not ready after {START_WITHIN_S:g} s; "
            raise EvaluationError(cause + apptainer_command.no_start(said))
        said += byte


@contextmanager
def _laid_out(stage: Stage) -> Iterator[Path]:
    """Make IN: the order, and something to bind each input over."""
    with tempfile.TemporaryDirectory(prefix="evohpc-in-") as folder:
        inputs = Path(folder).resolve() / "in"
        inputs.mkdir()
        inputs.with_name(_NOTHING).mkdir()
        (inputs / "order.json").write_bytes(stage.order)
        for name, path in stage.inputs.items():
            (inputs / name).mkdir() if path.is_dir() else (inputs / name).touch()
        yield inputs
