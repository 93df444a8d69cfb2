"""The seam between the driver and the language model: hand over a round's request, wait for its completions.

Imports no torch: the model lives in a process of its own (`python -m evohpc.lm.generate`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from evohpc.envelopes import decode
from evohpc.errors import EnvelopeError, LMError
from evohpc.lm import completions_file
from evohpc.messages import Completion, LMRequest
from evohpc.run_folder import RoundDir

_ERROR = "error: "


class LMJob(Protocol):
    """Draws the completions of one request at a time. All verbs are idempotent."""

    @property
    def held(self) -> str:
        """Why the job will not start without a person, in the scheduler's words; '' if nothing holds it."""

    def start(self, request: Path) -> None:
        """Have `rounds/NNN/request.json` answered. Nothing new starts if it is answered, or being answered, already;
        what an earlier job finished is kept."""

    def poll(self) -> bool:
        """Say whether `completions.jsonl` is complete.

        Raises:
            LMError: the job ended without completing it; names its log.
        """

    def cancel(self) -> None:
        """End the job with all its processes; what it finished is kept."""

    def release(self) -> None:
        """Give back what waits for further requests: there will be none."""

    def close(self) -> None:
        """Release this process's own resources. A local job ends with it; a scheduler's job goes on."""


def read_completions(path: Path, request: LMRequest) -> list[Completion]:
    """Return the completions of a request in the order of its prompts and samples.

    Raises:
        LMError: the file is not complete.
    """
    finished = completions_file.read(path, request)
    missing = [place for place in completions_file.places(request) if place not in finished]
    if missing:
        prompt, sample = missing[0]
        raise LMError(f"{path}: {len(missing)} completions are missing, the first is prompt {prompt}, sample {sample}")
    return [finished[place] for place in completions_file.places(request)]


def progress(request: Path) -> tuple[int, int]:
    """Return (finished completions, completions asked for) of `rounds/NNN/request.json`."""
    asked, path = load_request(request), RoundDir(request.parent).completions
    finished = set(completions_file.read(path, asked)).union(*completions_file.read_parts(path, asked).values())
    return len(finished), len(completions_file.places(asked))


def is_complete(request: Path) -> bool:
    """Say whether all completions that `rounds/NNN/request.json` asks for are there."""
    return completions_file.is_complete(RoundDir(request.parent).completions, load_request(request))


def load_request(path: Path) -> LMRequest:
    """Read a round's request.

    Raises:
        LMError: it is missing, torn or altered.
    """
    try:
        return decode(path.read_bytes(), LMRequest)
    except (OSError, EnvelopeError) as error:
        raise LMError(f"{path}: {error}; delete it to have it written anew") from None


def last_error(log: str) -> str:
    """Return what the last line says in which an LM job told why it gives up; '' if there is none."""
    lines = [line.strip() for line in log.splitlines()]
    return next((line.removeprefix(_ERROR) for line in reversed(lines) if line.startswith(_ERROR)), "")


def failure(request: Path, reason: str, log: Path | None = None) -> LMError:
    """Return the error for an LM job that ended without completing its request.

    Args:
        log: where it tells more, if not in the round's log.
    """
    where = log or RoundDir(request.parent).lm_log
    return LMError(f"the LM job of {request.parent} failed: {reason}; its log is {where}")
