"""How long reports of large searches take, in seconds and bytes: `python benchmarks/reporting.py`.

Searches are made up: about a third of their children was trained, each with a curve as long as that of the paper's
recipe, and every program differs. The browser's part is measured
in headless Chromium: from a change of a filter to the end of the page's work for it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.browsing import launched, show  # noqa: E402
from support.reporting import make_run  # noqa: E402

from evohpc.report.aggregate import aggregate, write  # noqa: E402
from evohpc.report.reader import Reading  # noqa: E402
from evohpc.report.report import report  # noqa: E402
from evohpc.report.runs import read  # noqa: E402

FILTERS = {"text": {"text": "kernel=3"}, "nothing": {"text": ""}, "class": {"status": "timeout"}}

_FILTER = """
const [filter, done] = arguments;
const start = performance.now();
choose(filter);
setTimeout(() => requestAnimationFrame(() => setTimeout(() => done(performance.now() - start))));
"""


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Do something; print what it took."""
    wall, cpu = time.monotonic(), time.process_time()
    done = work()
    print(f"{what}: {time.monotonic() - wall:.1f} s, of it {time.process_time() - cpu:.1f} s of one core", flush=True)
    return done


def in_browser(page: Path) -> None:
    """Print the milliseconds that filters take."""
    with launched() as opened:
        show(opened, page)
        for name, filter in FILTERS.items():
            opened.execute_script("document.getElementById('table').scrollIntoView()")
            times = sorted(opened.execute_async_script(_FILTER, filter) for _ in range(5))
            print(f"filter by {name}: median {times[2]:.0f} ms, slowest {times[-1]:.0f} ms")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--children", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parent, count = Path(folder), options.children
        first = make_run(parent / "0", count, seed=0, points=81)  # curves, which the report alone reads
        made = [first, *(make_run(parent / str(seed), count, seed=seed) for seed in range(1, options.runs))]
        page = Path(folder) / "report.html"
        timed("evohpc report", lambda: page.write_text(report(read(made[0])), encoding="utf-8"))
        print(f"report.html: {page.stat().st_size / 1e6:.2f} MB")
        with Reading(made[0]) as reading:
            timed("lineage and selections", reading.selections)
        in_browser(page)
        found = timed(f"evohpc aggregate of {len(made)} runs", lambda: aggregate(made, ["search.variant"], -133))
        compared = Path(folder) / "compared.html"
        timed("its HTML", lambda: write(found, compared))
        print(f"compared.html: {compared.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
