"""That benchmarks still run to their end, with little to measure: what they print, no test can judge."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.paths import ROOT

RUNS = {
    "driver.py": (["--sizes", "100", "--rounds", "1"], "CPU ms per"),
    "load.py": (["--size", "200", "--seconds", "2"], "results a minute"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_it_ends_and_prints_its_table(name: str) -> None:
    arguments, printed = RUNS[name]
    command = [sys.executable, str(ROOT / "benchmarks" / name), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert set(printed.split()) <= set(done.stdout.split())
