"""What the driver costs beside that of another version: `python benchmarks/side_by_side.py CHECKOUT`.

Both run `benchmarks/driver.py` of their own checkout, by turns, on stores of the same size: so a busy machine is as
busy for the one as for the other. CPU seconds, user and system; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
_TURN = """
import json, resource, sys
from pathlib import Path
import driver

def used():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

what, folder, size, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
if what == "fill":
    driver.filled(folder, size, rounds)
elif what == "open":
    driver.timed_open(driver.RunDir(folder / "run"))  # leaves it as drivers do
    before = used()
    driver.timed_open(driver.RunDir(folder / "run"))
    print(json.dumps(used() - before))
else:
    print(json.dumps(driver.timed_rounds(driver.RunDir(folder / "run"))[0]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="checkout of the other version")
    parser.add_argument("--size", type=int, default=10_000, help="candidates in the store")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="evohpc-benchmark-") as temporary:
        versions = {"other": arguments.other.resolve(), "this": ROOT}
        for name, checkout in versions.items():
            turn(checkout, "fill", Path(temporary, name), arguments)
        for _ in range(arguments.turns):
            for name, checkout in versions.items():
                for what in ("open", "rounds"):
                    copy = Path(shutil.copytree(Path(temporary, name), Path(temporary, "copy")))
                    found.setdefault((name, what), []).append(float(turn(checkout, what, copy, arguments)))
                    shutil.rmtree(copy)
    Console().print(as_table(found))


def turn(checkout: Path, what: str, folder: Path, arguments: argparse.Namespace) -> str:
    """Have one version do something; return what it prints."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", _TURN, what, str(folder), str(arguments.size), str(arguments.rounds)]
    path = os.pathsep.join((str(checkout), str(checkout / "benchmarks")))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def as_table(found: dict[tuple[str, str], list[float]]) -> Table:
    """Return the medians, with the least and the greatest, and their ratio."""
    table = Table("", "other", "this", "ratio")
    for what, name in (("open", "open and close, CPU s"), ("rounds", "a candidate, CPU ms")):
        other, this = found["other", what], found["this", what]
        shown = [f"{statistics.median(v):.2f} ({min(v):.2f} to {max(v):.2f})" for v in (other, this)]
        table.add_row(name, *shown, f"{statistics.median(this) / statistics.median(other):.2f}")
    return table


if __name__ == "__main__":
    main()
