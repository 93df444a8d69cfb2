"""Draws the pictures of docs/results from the CSV files beside it, in headless Chromium: `python docs/results/draw.py
[PICTURE]`.

Needs what `docs/draw_report.py` needs.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from bokeh.io.export import get_screenshot_as_png
from bokeh.layouts import column
from bokeh.resources import INLINE
from tables import Search, read_searches

from evohpc.report.comparison import Band
from evohpc.report.figures import compare
from evohpc.report.intervals import bootstrap

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "tests"))

from support.browsing import launched  # noqa: E402

WIDTH, HEIGHT = 900, 380
"""Of a chart, in pixels."""
COLOURS = 256
"""Of a picture's palette: flat colours need no more."""
LEAST = 3
"""Of an arm with fewer searches than this, the mean is not drawn."""


def bands(searches: Sequence[Search]) -> Iterator[Band]:
    """Yield for each arm the mean of the best fitness so far, against the children drawn, with its interval."""
    for arm in dict.fromkeys(search.arm for search in searches):
        curves = np.stack([search.curve() for search in searches if search.arm == arm])
        if len(curves) < LEAST:
            continue
        mean, low, high = np.asarray([bootstrap(values) for values in curves.T]).T
        yield Band(arm.replace("_", " "), np.arange(curves.shape[1], dtype=float), mean, low, high)


def draw(folder: Path, file: Path) -> None:
    """Draw an experiment: the arms' means above, each search's fittest below."""
    searches = read_searches(folder)
    many = Counter(search.arm for search in searches)
    searches.sort(key=lambda search: many[search.arm] < LEAST)  # an arm has the same colour above and below
    rows = [
        {"run": f"{s.arm}-{s.seed}", "group": s.arm.replace("_", " "), "best_at_equal_evaluations": s.best()}
        for s in searches
    ]
    charts = [
        compare.progress("progress", "children drawn (mean of the arm's searches, 95 %)", list(bands(searches)), None),
        compare.reached(rows),
    ]
    made = [chart for chart in charts if chart is not None]
    made[-1].xaxis.axis_label = "arm (a dot is the fittest of one search)"
    for chart in made:
        chart.update(width=WIDTH, height=HEIGHT, sizing_mode="fixed", background_fill_color="white")
        chart.update(background_fill_alpha=1, border_fill_color="white", border_fill_alpha=1, toolbar_location=None)
    with launched("--hide-scrollbars") as browser:
        picture = get_screenshot_as_png(column(*made), driver=browser, resources=INLINE)
    picture.convert("RGB").quantize(COLOURS).save(file, optimize=True)


if __name__ == "__main__":
    draw(HERE / "mnist1d", Path(sys.argv[1]) if sys.argv[1:] else HERE / "mnist1d.png")
