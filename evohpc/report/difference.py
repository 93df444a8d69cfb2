"""What one program has that another has not, as a unified diff. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from evohpc.messages import Candidate


@dataclass(frozen=True, slots=True)
class Difference:
    """From one candidate's program to another's."""

    before: str
    """Id of the candidate."""
    after: str
    lines: tuple[str, ...]
    """A unified diff, which patch(1) understands; empty where the programs are the same."""

    @property
    def counts(self) -> tuple[int, int]:
        """How many lines are new, and how many are gone."""
        body = self.lines[2:]
        return sum(line[0] == "+" for line in body), sum(line[0] == "-" for line in body)


def differences(candidate: Candidate, others: Iterable[Candidate], context: int = 3) -> Iterator[Difference]:
    """Yield how a candidate's program differs from each of the others'.

    Args:
        context: lines of text around a change.
    """
    for other in others:
        lines = difflib.unified_diff(
            *(_lines(other.source), _lines(candidate.source), other.id, candidate.id), n=context, lineterm=""
        )
        yield Difference(other.id, candidate.id, tuple(lines))


def _lines(source: str) -> list[str]:
    """Return the lines as Python counts them; str.splitlines() breaks at characters that may be in a text."""
    return source.removesuffix("\n").split("\n")
