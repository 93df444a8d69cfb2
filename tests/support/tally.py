"""How often a promise was tried, and how often it failed: figures that tests give, added up over a run of them.

`make reliability` runs the tests that give any, and keeps what they add up to in docs/results/reliability.json.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT

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
        Path(path).write_text(json.dumps({**where(), "tried": passed, "failed": failed}, indent=1) + "\n")


def told(path: Path) -> str:
    """Return what a page says of a file of figures: a table, then when and where, and what failed."""
    run = json.loads(path.read_text())
    rows = "".join(f"| {what} | {tried:,} |\n" for what, tried in run["tried"].items())
    failed = "none of these failed" if not run["failed"] else f"{len(run['failed'])} tests failed"
    where = f"{run['date']}, commit {run['commit'][:7]}, {run['machine']}"
    return f"| tried | times |\n|---|---|\n{rows}\n{where}; {failed}.\n"


def where() -> dict[str, str]:
    """Return when, on which commit and on what kind of machine this is."""
    return {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "commit": _commit(), "machine": _machine()}


def _commit() -> str:
    """Return the commit that is checked out, with `-dirty` if files differ from it; '' without git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


def _machine() -> str:
    """Return the processor, cores, memory, kernel and Python; no name of a host, since this is published."""
    told = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(": ")[2] for line in told.splitlines() if line.startswith("model name")), "")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model or platform.machine()}, {memory} GiB, "
        f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    )
