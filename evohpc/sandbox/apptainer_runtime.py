"""The runtime `apptainer`: each stage in a container of its own."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from evohpc import envelopes
from evohpc.config.site import ContainerSection
from evohpc.errors import EvaluationError
from evohpc.messages import Isolation
from evohpc.sandbox import apptainer_command, apptainer_entry, container_probe, image, process_tree, supervise
from evohpc.sandbox.apptainer_command import Bind, Container
from evohpc.sandbox.apptainer_entry import READY, Contained
from evohpc.sandbox.base import Ending, Limits, Outcome, Stage
from evohpc.sandbox.container_probe import Found, ProbeOrder

START_WITHIN_S = 120.0
"""For the container and the imports in it; a cold image on a busy file system takes its time. Not the candidate's."""
_NOTHING = "nothing"
_IN_MEMORY = ("/tmp", "/var/tmp", "/dev/shm")
"""File systems that Apptainer makes in memory, where nobody would count what is written; an empty folder is instead."""
_PROBE_LIMITS = Limits(wall_s=START_WITHIN_S, memory_bytes=1 << 30, disk_bytes=1 << 20, log_bytes=4096)


class ApptainerRuntime:
    """Runs stages in containers. Make one with `start`, which finds out what this host can isolate."""

    def __init__(self, host: Container, more: Sequence[str], secret: Path, found: Found) -> None:
        """`secret` is a file that candidates must not read; `found` what a probe of it found."""
        self._host, self._more, self._secret, self._found = host, more, secret, found
        self._masks: dict[tuple[str, ...], list[Bind]] = {(): []}

    @property
    def isolation(self) -> Isolation:
        """CONTAINER if the probe found no way out."""
        return Isolation.PROCESS if self._found.weaknesses else Isolation.CONTAINER

    @property
    def has_own_network(self) -> bool:
        """Whether a container here has a network namespace of its own; else the seccomp filter alone keeps it off."""
        return self._host.own_network

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """What a candidate could do here, in words."""
        return self._found.weaknesses

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages in the image, and the image's digest."""
        return {**self._found.versions, "image": image.digest(self._host.image)}

    def run(self, stage: Stage) -> Outcome:
        """Run a stage to its end; see `Runtime.run`."""
        return _run(self._host, self._more, stage, self._masks_for(stage.hidden))

    def _masks_for(self, hidden: tuple[str, ...]) -> list[Bind]:
        """Return what is bound over modules that the kernel cannot hide; the first time, a container says where they
        are."""
        if self._found.has_landlock:
            return []
        if hidden not in self._masks:
            found = _find(self._host, self._more, self._secret, hidden)
            nothing = Path(tempfile.mkdtemp(prefix="evohpc-nothing-"))
            files = [Bind(Path(os.devnull), place) for place in found.files]
            self._masks[hidden] = [*files, *(Bind(nothing, place) for place in found.folders)]
        return self._masks[hidden]

    def close(self) -> None:
        """Nothing outlives a stage."""


def start(site: ContainerSection, secret: Path, minimum: Isolation) -> ApptainerRuntime:
    """Find out how well containers isolate on this host, and return a runtime for it.

    Args:
        secret: a file that candidates must not read, e.g. the labels of a run.

    Raises:
        EvaluationError: no container starts here, or it isolates less than `minimum`.
    """
    if site.image is None:
        raise EvaluationError("evaluation.runtime is apptainer, and the site profile has no container.image")
    command = shutil.which(site.apptainer, path=f"{os.environ.get('PATH', '')}:/usr/local/bin:/usr/bin")
    if command is None:
        raise EvaluationError(
            f"there is no `{site.apptainer}` on {socket.gethostname()}; set container.apptainer in the site profile to "
            "its path, or load its module in evaluation.setup"
        )
    host = Container(command, image.local_copy(site.image, site.local_folder), site.gpu)
    runtime = _probe(host, site.binds, secret)
    if runtime.isolation.rank < minimum.rank:
        raise EvaluationError(
            f"{socket.gethostname()} reaches isolation '{runtime.isolation}', evaluation.minimum_isolation is "
            f"'{minimum}': a candidate in a container here could {', '.join(runtime.weaknesses)}"
        )
    return runtime


def _probe(host: Container, more: Sequence[str], secret: Path) -> ApptainerRuntime:
    """Probe with a network namespace; where the host allows none, without: then the seccomp filter must hold."""
    try:
        return ApptainerRuntime(host, more, secret, _find(host, more, secret))
    except EvaluationError as error:
        bare = replace(host, own_network=False)
        try:
            return ApptainerRuntime(bare, more, secret, _find(bare, more, secret))
        except EvaluationError:
            raise error from None


def _find(host: Container, more: Sequence[str], secret: Path, hidden: tuple[str, ...] = ()) -> Found:
    with tempfile.TemporaryDirectory(prefix="evohpc-probe-") as folder:
        order = envelopes.encode(ProbeOrder(str(secret.resolve()), os.getpid(), hidden)).encode()
        stage = Stage(container_probe.__name__, order, {}, Path(folder), _PROBE_LIMITS, threads=1)
        outcome = _run(host, more, stage)
        try:
            return envelopes.decode((Path(folder) / "found.json").read_bytes(), Found)
        except OSError:
            raise EvaluationError(_no_start(outcome.log)) from None


def _run(host: Container, more: Sequence[str], stage: Stage, masks: Sequence[Bind] = ()) -> Outcome:
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
    """Return the command that runs a stage.

    Args:
        more: binds of the site.
        inputs: folder of this host that becomes IN; beside it is an empty one.
        masks: bound over what has been bound before, or is in the image.
    """
    package = Path(__file__).resolve().parent.parent
    in_memory = [Bind(inputs.with_name(_NOTHING), target) for target in _IN_MEMORY]
    own = apptainer_command.binds(inputs, stage.inputs, stage.out.resolve(), package, more)
    binds = [*in_memory, *own, *masks]
    launch = envelopes.encode(Contained(stage.entry, stage.limits, stage.threads, stage.hidden))
    # PYTHONPATH has this package only; -P: not the working folder, which is the candidate's.
    environment = {"PYTHONPATH": apptainer_command.EVOHPC, "PYTHONDONTWRITEBYTECODE": "1"}
    program = ["python3", "-P", "-s", "-W", "ignore", "-m", apptainer_entry.__name__, launch]
    return apptainer_command.command(host, binds, environment, program)


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
            raise EvaluationError(cause + _no_start(said))
        said += byte


def _no_start(said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    message = next((line for line in lines if "FATAL" in line or "Error" in line), lines[-1] if lines else "no message")
    return f"a container does not start on {socket.gethostname()}: {message.strip()}"


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
