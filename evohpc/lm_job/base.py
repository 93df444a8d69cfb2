"""The seam between the driver and the language model: hand over a round's request, wait for its completions.

Imports no torch: the model lives in a process of its own (`python -m evohpc.lm.generate`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from evohpc.errors import LMError
from evohpc.lm import completions_file
from evohpc.run_folder import RoundDir, read_request

_ERROR = "error: "


class LMJob(Protocol):
    """Draws the completions of one request at a time. All methods are idempotent."""

    @property
    def held(self) -> str:
        """Why the job will not start without a person, in the scheduler's words; '' if nothing holds it."""

    def start(self, round: RoundDir) -> None:
        """Have the request of a round answered. Nothing new starts if it is answered, or being answered, already;
        what an earlier job finished is kept.

        Raises:
            RunFolderError: the request cannot be read.
            LMError: no such job can ever start; says what to correct.
            StorageError: the file system refused a file that the job needs.
        """

    def poll(self) -> bool:
        """Return whether `completions.jsonl` is complete.

        Raises:
            LMError: the job ended without completing it; names its log.
            RunFolderError: the request cannot be read.
            StorageError: the file system refused a file that the next job needs.
        """

    def cancel(self) -> None:
        """End the job with all its processes; what it finished is kept.

        Raises:
            EvaluationError: the scheduler does not answer.
        """

    def release(self) -> None:
        """End a job that waits for further requests: there will be none."""

    def close(self) -> None:
        """Release this process's own resources. A local job ends with it; a scheduler's job goes on."""


def progress(round: RoundDir) -> tuple[int, int]:
    """Return (finished completions, completions asked for) of a round.

    Raises:
        RunFolderError: its request cannot be read.
    """
    request, path = read_request(round), round.completions
    finished = set(completions_file.read(path, request)).union(*completions_file.read_parts(path, request).values())
    return len(finished), len(completions_file.keys(request))


def is_complete(round: RoundDir) -> bool:
    """Return whether all completions that a round's request asks for are there.

    Raises:
        RunFolderError: its request cannot be read.
    """
    return completions_file.is_complete(round.completions, read_request(round))


def last_error(log: str) -> str:
    """Return what the last line with an error in an LM job's log says; '' if there is none."""
    lines = [line.strip() for line in log.splitlines()]
    return next((line.removeprefix(_ERROR) for line in reversed(lines) if line.startswith(_ERROR)), "")


def failure(round: RoundDir, reason: str, log: Path | None = None) -> LMError:
    """Return the error for an LM job that ended without completing its request.

    Args:
        log: the file that tells more, if it is not the round's log.
    """
    return LMError(f"the LM job of {round.path} failed: {reason}; its log is {log or round.lm_log}")
