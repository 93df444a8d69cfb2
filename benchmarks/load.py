"""What evohpc costs on a search of 100,000 candidates: `python benchmarks/load.py`.

Writes the files of such a search (made up, the same at each call), has `evohpc rebuild` make its database, and runs the
commands that read it: CPU and wall seconds and the peak memory of each process. Then a driver goes on with it while
1,000 results a minute arrive, and `status` is asked (`arrivals.py`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from arrivals import as_table, under_load
from costs import Cost, cost, evohpc
from made_run import write_run
from rich.console import Console
from rich.table import Table

from evohpc.run_folder import RunDir

READS = (
    ("status",),
    ("status", "--json"),
    ("list", "--best", "10"),
    ("list", "--best", "10", "--json"),
    ("list", "--round", "3"),
    ("show", "seed-cnn"),
    ("why", "best"),
    ("export", "--jsonl", "-"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100_000, help="candidates")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long results arrive")
    parser.add_argument("--rate", type=float, default=1000.0, help="results a minute")
    parser.add_argument("--folder", type=Path, help="keep the run there; one that is there is used again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="evohpc-benchmark-") as temporary:
        run = RunDir((arguments.folder or Path(temporary)) / "run")
        if not run.path.exists():
            write_run(run, arguments.size)
        table = Table(f"{arguments.size:,} candidates", "CPU s", "wall s", "peak MB")
        for name, took in measured(run):
            table.add_row(name, f"{took.cpu:.2f}", f"{took.wall:.2f}", f"{took.peak_mb:.0f}")
        Console().print(table)
        Console().print(as_table({arguments.rate: under_load(run.path, arguments.rate, arguments.seconds)}))


def measured(run: RunDir) -> Iterator[tuple[str, Cost]]:
    """Yield what the commands cost, rebuilding first."""
    yield "rebuild", cost(*evohpc("rebuild", run.path))
    for name, *options in READS:
        yield " ".join((name, *options)), cost(*evohpc(name, run.path, *options))
    code = "import sys; from evohpc.report.runs import read; from pathlib import Path; read(Path(sys.argv[1]))"
    yield "report, the reading of it", cost(sys.executable, "-c", code, run.path)


if __name__ == "__main__":
    main()
