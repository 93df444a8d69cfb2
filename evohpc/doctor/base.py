"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
