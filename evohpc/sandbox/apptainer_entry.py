"""The first process in the container of one stage: `python -m evohpc.sandbox.apptainer_entry LAUNCH` (JSON).

It imports what is slow, limits and confines itself as a process of the other runtime does (so a host without network
namespaces still has the seccomp filter), says so in a line, and only then becomes the stage.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

from evohpc import envelopes
from evohpc.sandbox import confine, fork_server
from evohpc.sandbox.apptainer_command import IN, OUT, READY
from evohpc.sandbox.base import Limits
from evohpc.sandbox.fork_server import Entry


@dataclass(frozen=True, slots=True)
class Contained:
    """What is to run."""

    entry: str
    limits: Limits
    threads: int
    hidden: tuple[str, ...]
    """See `Stage.hidden`."""


def main() -> NoReturn:
    """Become a stage; the exit code is the stage's."""
    launch = envelopes.decode(sys.argv[1], Contained)
    entry = cast(Entry, importlib.import_module(launch.entry))
    entry.preload()
    inputs, out = Path(IN), Path(OUT)
    os.environ.clear()
    os.environ.update(confine.environment(out, launch.threads))
    os.umask(0o077)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    confine.limit(launch.limits, launch.threads)
    confine.confine([inputs], out, launch.hidden)
    os.write(1, READY + b"\n")
    fork_server.end_with(entry, inputs, out)


if __name__ == "__main__":
    main()
