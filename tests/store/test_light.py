"""What reads a run starts fast: it imports none of what takes long and only others need."""

from __future__ import annotations

import json
import subprocess
import sys

SLOW = ["numpy", "pandas", "submitit", "torch", "matplotlib"]


def test_reading_a_run_imports_nothing_slow_and_leaves_it_importable() -> None:
    script = (
        "import json, sys, evohpc.report.reader, evohpc.report.tables\n"
        f"loaded = [name for name in {SLOW} if name in sys.modules]\n"
        "import numpy, pandas\n"
        "print(json.dumps([loaded, numpy.arange(3).sum().item(), len(pandas.Series([1, 2]))]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], 3, 2]
