"""The Runtime seam: where one stage of a candidate's evaluation runs, and how it ended.

A stage is one process of untrusted code. Whatever the runtime, it is told the same and sees the same two folders:

    IN/order.json, IN/<name>    read-only: what it is asked, and `Stage.inputs` under their names
    OUT                         writable, empty at the start, its working folder, HOME and TMPDIR

and its program is the module `Stage.entry`: `python -m ENTRY IN OUT`, or its `main(IN, OUT)` in a forked process. What
it leaves in OUT is untrusted bytes for the caller to check.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from evohpc.messages import Isolation


class Ending(StrEnum):
    """How a stage ended, as its supervisor saw it; never taken from the candidate's word."""

    EXITED = "exited"
    """By itself, well or badly: see `Outcome.exit_code`."""
    SIGNALLED = "signalled"
    """Died of a signal that the supervisor did not send: see `Outcome.exit_code`."""
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_LIMIT = "disk_limit"
    """Too many bytes, or too many files."""
    PROCESS_LIMIT = "process_limit"
    """Too many processes and threads."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stage may use, all its processes together; beyond it, the whole tree is killed."""

    wall_s: float
    memory_bytes: int
    """Resident."""
    disk_bytes: int
    """In OUT."""
    log_bytes: int
    """Kept from the end of stdout and stderr; more is read and dropped."""
    files: int = 10_000
    """In OUT."""
    processes: int = 256
    """Processes and threads."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One process of a candidate."""

    entry: str
    """Module that runs it, e.g. 'evohpc.evaluation.stage.main'."""
    order: bytes
    """Content of IN/order.json."""
    inputs: Mapping[str, Path]
    """Name in IN -> file or folder of this host. Nothing else of the host's data is readable where isolation holds."""
    out: Path
    """Folder of this host that becomes OUT; exists and is empty."""
    limits: Limits
    threads: int
    hidden: tuple[str, ...] = ()
    """Modules, with all that is in them, that it can neither import nor read, with Landlock or in a container."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What processes had of the processors."""

    cpu_s: float = 0.0
    """CPU seconds of all of them; those of orphans that ended only as far as they were seen."""
    waited_s: float = 0.0
    """Seconds in which one of their threads could have run, and others did: the thread that waited longest. 0 where the
    kernel does not tell."""

    def __add__(self, other: Processor) -> Processor:
        return Processor(self.cpu_s + other.cpu_s, self.waited_s + other.waited_s)

    def asked_s(self, seconds: float, threads: int) -> float:
        """Return the CPU seconds that they would have had on a machine of their own in so many wall seconds, if all
        threads that are theirs waited as long."""
        return min(self.cpu_s + threads * self.waited_s, threads * seconds)

    def is_starved(self, seconds: float, threads: int) -> bool:
        """Say whether they had less than a third of that, for others' sake; who sleeps, or has more threads than are
        his, is not."""
        return self.waited_s > seconds / 2 and self.cpu_s < self.asked_s(seconds, threads) / 3


UNMEASURED = Processor()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage ended."""

    ending: Ending
    exit_code: int
    """As subprocess.Popen.returncode: a negative number is the signal."""
    seconds: float
    """Wall seconds from its start to the death of its last process."""
    peak_memory: int
    """Bytes resident, the most that was seen."""
    log: bytes
    """The end of what it printed, as it came."""
    processor: Processor = UNMEASURED


class Runtime(Protocol):
    """Runs stages, one at a time. Make one per evaluating process; it may keep helpers alive until `close`."""

    @property
    def isolation(self) -> Isolation:
        """The level that was probed on this host, for stages of this runtime."""

    def run(self, stage: Stage) -> Outcome:
        """Run a stage to its end. When this returns, no process of it is left.

        Raises:
            EvaluationError: the sandbox itself did not start or broke: the machine's fault, not the candidate's.
        """

    def expect_another(self) -> None:
        """Know that the candidate whose stages are run from here on is followed by another, for which something may be
        made ready meanwhile."""

    def end_candidate(self) -> None:
        """Have the stages from here on, which are another candidate's, share nothing with those before."""

    def close(self) -> None:
        """End the helpers."""
