"""The Apptainer command that runs what a candidate needs, as a list of arguments. Pure: nothing is started here.

Apptainer shares the host by default (its documentation: "favor integration over isolation"), so everything is said:

    --containall                  own file system, PID and IPC namespace, environment
    --no-home --no-mount ...      nothing that the site binds into every container
    --net --network none          a network namespace with nothing in it, where the host lets users make one
    --no-privs                    no capabilities, no new privileges

and its environment is made here, because APPTAINER_BINDPATH and the like of a user or a site's module are honoured
even with --containall.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evohpc.sandbox import confine

IN, OUT, EVOHPC = "/in", "/out", "/opt/evohpc"
"""Folders in the container: inputs, outputs, and this package. An image must have them: mount points cannot be made in
a read-only image without help that not all hosts have."""

READY = b"evohpc: the container is set up"
"""The line that the first process in a container says. What comes before it is a site's or Apptainer's."""
START_WITHIN_S = 120.0
"""For a container and the imports in it; a cold image on a busy file system takes its time. Not the candidate's."""
_IN_MEMORY = ("/tmp", "/var/tmp", "/dev/shm")
"""File systems that Apptainer makes in memory, where nobody would count what is written; an empty folder is instead."""
PACKAGE = Path(__file__).resolve().parent.parent
"""This package's folder."""
_GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host in the container."""

    source: Path
    target: str
    writable: bool = False

    def __str__(self) -> str:
        return f"{self.source}:{self.target}:{'rw' if self.writable else 'ro'}"


@dataclass(frozen=True, slots=True)
class Container:
    """How containers are started on one host."""

    apptainer: str
    image: Path
    gpu: Literal["none", "nv", "rocm"] = "none"
    own_network: bool = True
    """The host can give a container a network namespace of its own."""


def command(
    container: Container,
    binds: Sequence[Bind],
    environment: Mapping[str, str],
    program: Sequence[str],
    working_folder: str = OUT,
) -> list[str]:
    """Return the arguments that run `program` in a container.

    Args:
        environment: all that the program sees, beside what Apptainer itself sets.

    Raises:
        ValueError: a path to bind holds a character that Apptainer takes for a separator.
    """
    for bind in binds:
        if any(character in str(bind.source) for character in ",:\\"):
            raise ValueError(f"{bind.source}: Apptainer cannot bind a path with a comma, colon or backslash")
    arguments = [container.apptainer, "--quiet", "exec", "--containall", "--no-home", "--no-privs"]
    arguments += ["--no-mount", "hostfs,bind-paths,home,cwd"]
    arguments += ["--net", "--network", "none"] if container.own_network else []
    arguments += [f"--{container.gpu}"] if container.gpu != "none" else []
    for bind in binds:
        arguments += ["--bind", str(bind)]
    for name, value in sorted(environment.items()):
        arguments += ["--env", f"{name}={value}"]
    return [*arguments, "--pwd", working_folder, str(container.image), *program]


def own_environment() -> dict[str, str]:
    """Return all that Apptainer itself may see of this process's environment. Which GPUs are the job's it passes on;
    --containall would hide that, and every candidate on a node take the first."""
    gpus = {f"APPTAINERENV_{name}": os.environ[name] for name in _GPU_VARIABLES if name in os.environ}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", **gpus}


def python(host: Container, binds: Sequence[Bind], module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of evohpc in a container."""
    # PYTHONPATH has this package only; -P: not the working folder, which is the candidate's.
    environment = {**confine.fixed_environment(1), "PYTHONPATH": EVOHPC}
    return command(host, binds, environment, ["python3", "-P", "-s", "-W", "ignore", "-m", module, *arguments])


def no_start(said: bytes) -> str:
    """Return an error for a container that does not start, from what Apptainer and Python said."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    message = next((line for line in lines if "FATAL" in line or "Error" in line), lines[-1] if lines else "no message")
    return f"a container does not start on {socket.gethostname()}: {message.strip()}"


def binds(inputs: Path, files: Mapping[str, Path], out: Path, package: Path, more: Sequence[str]) -> list[Bind]:
    """Return what a container sees of the host.

    Args:
        inputs: folder that becomes IN; has an empty file or folder for each of `files` to be bound over.
        files: name in IN -> file or folder.
        package: this package's folder.
        more: 'SOURCE' or 'SOURCE:TARGET' of the site profile.
    """
    inside = [Bind(path.resolve(), f"{IN}/{name}") for name, path in files.items()]
    return [
        *site_binds(more),
        Bind(package, f"{EVOHPC}/evohpc"),
        Bind(inputs, IN),
        *inside,
        Bind(out, OUT, writable=True),
    ]


def over_memory(nothing: Path) -> list[Bind]:
    """Return what is bound over file systems in memory: an empty folder."""
    return [Bind(nothing, target) for target in _IN_MEMORY]


def site_binds(more: Sequence[str]) -> list[Bind]:
    """Return what the site profile binds into every container, from its 'SOURCE' or 'SOURCE:TARGET'."""
    parts = [bind.partition(":") for bind in more]
    return [Bind(Path(source), target or source) for source, _, target in parts]
