"""How often a promise was tried, and how often it failed: figures that tests give, added up over a run of them.

`make reliability` runs the tests that give any, and keeps what they add up to in docs/results/reliability.json.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Tally = Callable[[str, int], None]
"""(what was tried, how often): called once all of them went well. A test that fails counts as one failure."""

FILE = "EVOHPC_TALLY"
"""Environment variable with the path that the figures are written to as JSON; without it they are only printed."""
_PROPERTY = "tally"


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    """Count what a test has tried."""

    def count(what: str, tried: int) -> None:
        record_property(_PROPERTY, (what, tried))

    return count


def figures(reports: Sequence[Any]) -> dict[str, int]:
    """Return how often each thing was tried, by the reports of tests that passed."""
    counted: Counter[str] = Counter()
    for report in reports:
        for name, value in report.user_properties:
            if name == _PROPERTY:
                counted[value[0]] += value[1]
    return dict(sorted(counted.items()))


def summarise(terminal: pytest.TerminalReporter) -> None:
    """Print the figures at the end of a run, and write them where the environment says."""
    passed = figures(terminal.stats.get("passed", []))
    failed = [report.nodeid for kind in ("failed", "error") for report in terminal.stats.get(kind, [])]
    for what, tried in passed.items():
        terminal.write_line(f"tried: {tried:7} {what}")
    if path := os.environ.get(FILE):
        Path(path).write_text(json.dumps({"tried": passed, "failed": failed}, indent=1) + "\n")
