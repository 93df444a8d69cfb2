"""What a check finds."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from evohpc.errors import EvohpcError
from evohpc.slurm.commands import NoAnswer


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """A search runs; it may be slower, or need a look now and then."""
    FAULT = "fault"
    """A search will not run, or would lose something."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One requirement."""

    check: str
    """What was looked at, e.g. 'evaluation jobs'."""
    verdict: Verdict
    found: str
    """In a few words."""
    advice: str = ""
    """What to do; empty if it is ok."""


def ok(check: str, found: str) -> Finding:
    """A requirement that is met."""
    return Finding(check, Verdict.OK, found)


def warning(check: str, found: str, advice: str) -> Finding:
    """Something to know."""
    return Finding(check, Verdict.WARNING, found, advice)


def fault(check: str, found: str, advice: str) -> Finding:
    """Something to mend first."""
    return Finding(check, Verdict.FAULT, found, advice)


def attempt(check: str, tried: str, examine: Callable[[], Finding | Iterable[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds. A check that raises is a fault that says what was tried; the doctor goes on.

    Args:
        check: as in `Finding`.
        tried: what the check does, e.g. 'asking sbatch --test-only'.
        examine: the check; it returns a finding, or several.
    """
    try:
        found = examine()
        yield from [found] if isinstance(found, Finding) else found
    except Exception as error:
        reason, advice = _explained(error)
        yield fault(check, f"{tried}: {reason}", advice)


def _explained(error: Exception) -> tuple[str, str]:
    """Return why a check failed, and what to do."""
    match error:
        case subprocess.TimeoutExpired():
            return f"no answer within {error.timeout:g} s", "ask again; if it stays so, ask the site"
        case subprocess.CalledProcessError():
            said = str(error.stderr or "").strip().rpartition("\n")[2]
            return f"exit code {error.returncode} {said}".strip(), "run the same by hand to see more"
        case FileNotFoundError(filename=str(name)):
            return f"there is no `{name}` here", "load its module, or correct the path"
        case OSError():
            return f"{error.strerror or error}", "mend it, and ask again"
        case NoAnswer():
            return f"Slurm does not answer ({error})", "ask again when it does; `scontrol ping` tells"
        case EvohpcError():
            return str(error), "mend it, and ask again"
    return (
        f"{type(error).__name__}: {error}",
        "the doctor cannot read this answer: please report it with the line above",
    )
