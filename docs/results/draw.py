"""Draws the pictures of docs/results from the CSV files beside it, in headless Chromium: `python docs/results/draw.py
[FOLDER [PICTURE]...]`.

Needs what `docs/draw_report.py` needs.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.io.export import get_screenshot_as_png
from bokeh.layouts import column
from bokeh.models import NumeralTickFormatter, Range1d
from bokeh.resources import INLINE
from searches import MAIN, Row, Search, read_searches

from evohpc.report.comparison import Band
from evohpc.report.figures import compare, style
from evohpc.report.figures.tradeoff import equal_fitness
from evohpc.report.intervals import bootstrap
from evohpc.report.pareto import pareto_front

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "tests"))

from support.browsing import launched  # noqa: E402

WIDTH = 900
"""Of a picture, in pixels."""
HEIGHTS = {"front": 520, "by round": 280}
"""Of charts that need another height than `HEIGHT`, by name, in pixels."""
HEIGHT = 380
SHOWN = {
    "evoprompting": "the paper's method exactly",
    "extended": "the language model, with the extensions",
    "rescaling": "a rule that rescales constants",
    "iid": "the language model without evolution",
    "scripted_extended": "rules that change lines and constants",
    "scripted_iid": "a random search",
}
"""The arms of README's picture; the page has all."""
COLOURS = 256
"""Of a picture's palette: flat colours need no more."""
LEAST = 5
"""Of an arm with fewer searches than this, no mean and no front is drawn."""

Charts = Sequence[Any]


def progress(searches: Sequence[Search]) -> Charts:
    """The arms' means of the best so far, with the intervals of two arms: those of ten would hide each other."""
    found = [band if band.group in MAIN else replace(band, low=band.mean, high=band.mean) for band in bands(searches)]
    made = compare.progress("progress", f"children drawn (mean of an arm; 95 % of {' and '.join(MAIN)})", found, None)
    return () if made is None else (made,)


def claim(searches: Sequence[Search]) -> Charts:
    """The same of the arms of README's claim, by the names that it has for them."""
    shown = {arm: name for arm, name in SHOWN.items() if arm in {search.arm for search in searches}}
    chosen = [search for arm in shown for search in searches if search.arm == arm]
    found = [replace(band, group=shown[band.group.replace(" ", "_")]) for band in bands(chosen)]
    made = compare.progress("progress", "children drawn (mean of five searches, 95 %)", found, None)
    return () if made is None else (made,)


def reached(searches: Sequence[Search]) -> Charts:
    """The fittest of each search."""
    rows = [
        {"run": f"{s.arm}-{s.seed}", "group": s.arm.replace("_", "\n"), "best_at_equal_evaluations": s.best()}
        for s in searches
    ]
    made = compare.reached(rows)
    if made is None:
        return ()
    made.xaxis.axis_label = "arm (a dot is the fittest of one search)"
    return (made,)


def bands(searches: Sequence[Search]) -> Iterator[Band]:
    """Yield for each arm the mean of the best fitness so far, against the children drawn, with its interval."""
    for arm, of_arm in _arms(searches):
        curves = np.stack([search.curve() for search in of_arm])
        mean, low, high = np.asarray([bootstrap(values) for values in curves.T]).T
        yield Band(_name(arm), np.arange(curves.shape[1], dtype=float), mean, low, high)


def front(searches: Sequence[Search], least: int = LEAST) -> Charts:
    """Every child that counts by size and error, with the front of all searches of an arm, and the seeds."""
    arms = _arms(searches, least)
    made = style.chart("front", "parameters", "validation error", x_axis_type="log", y_axis_type="log")
    rows = [row for _, of_arm in arms for search in of_arm for row in search.counted()]
    for axis, name, start in ((made.xaxis, "num_params", "x"), (made.yaxis, "error", "y")):
        values = [float(row[name]) for row in rows]
        span = Range1d(min(values) / 1.15, max(values) * 1.15)
        setattr(made, f"{start}_range", span)
        axis.formatter = NumeralTickFormatter(format="0,0.[000]")
        style.log_ticks(axis, span.start, span.end)
    legend = [("equal fitness", [equal_fitness(made)])]
    for place, (arm, of_arm) in enumerate(arms):
        points = [_place(row) for search in of_arm for row in search.counted() if row["round"] != "-1"]
        best = [points[index] for index in pareto_front(points)]
        colour, dash = compare.look(place)
        made.scatter(*zip(*points, strict=True), size=4, color=colour, alpha=0.35)
        line = made.step(*zip(*best, strict=True), mode="after", line_width=2.5, color=colour, line_dash=dash)
        legend.append((_name(arm), [line]))
    seeds = [_place(row) for row in rows if row["round"] == "-1"]
    shape = {"marker": "diamond", "size": 11, "fill_color": "black", "line_color": "white"}
    style.legend(made, *legend, ("seeds", [made.scatter(*zip(*seeds, strict=True), **shape)]))
    return (made,)


def rounds(searches: Sequence[Search]) -> Charts:
    """What the children of each round are on average: their size, their error, and how many of them train."""
    shown: dict[str, Callable[[Sequence[Row]], float]] = {
        "mean size (parameters)": lambda children: float(np.mean([_place(row)[0] for row in _scored(children)])),
        "mean validation error": lambda children: float(np.mean([_place(row)[1] for row in _scored(children)])),
        "share of children trained": lambda children: len(_trained(children)) / len(children),
    }
    return [_by_round(searches, label, measure) for label, measure in shown.items()]


def _by_round(searches: Sequence[Search], label: str, measure: Callable[[Sequence[Row]], float]) -> Any:
    """Draw a measure of each round's children, a line an arm: all children of a round of its searches together. Arms
    that have one round are left out."""
    made, legend = style.chart("by round", "round", label), []
    for place, (arm, of_arm) in enumerate(_arms(searches)):
        by_round: dict[int, list[Row]] = {}
        for search in of_arm:
            for row in search.children:
                by_round.setdefault(int(row["round"]), []).append(row)
        if len(by_round) == 1:
            continue
        colour, dash = compare.look(place)
        values = [measure(children) for _, children in sorted(by_round.items())]
        line = made.line(sorted(by_round), values, color=colour, line_dash=dash, line_width=2.5)
        dots = made.scatter(sorted(by_round), values, color=colour, size=5)
        legend.append((_name(arm), [line, dots]))
    style.legend(made, *legend)
    made.y_range.start = 0
    made.yaxis.formatter = NumeralTickFormatter(format="0,0.[00]")
    return made


def _arms(searches: Sequence[Search], least: int = LEAST) -> list[tuple[str, list[Search]]]:
    """Return the arms with enough searches, in the order in which all charts colour them."""
    many = Counter(search.arm for search in searches)
    names = [arm for arm in dict.fromkeys(search.arm for search in searches) if many[arm] >= least]
    return [(arm, [search for search in searches if search.arm == arm]) for arm in names]


def _name(arm: str) -> str:
    return arm.replace("_", " ")


def _place(row: Row) -> tuple[float, float]:
    return float(row["num_params"]), float(row["error"])


def _trained(children: Sequence[Row]) -> list[Row]:
    return [row for row in children if row["outcome"] == "trained"]


def _scored(children: Sequence[Row]) -> list[Row]:
    """Return the children that trained to the end; at a rung below the last, others have no error to compare."""
    return [row for row in _trained(children) if row["error"]]


PICTURES: dict[str, tuple[str, Callable[[Sequence[Search]], Charts]]] = {
    "mnist1d.png": ("mnist1d", progress),
    "mnist1d_claim.png": ("mnist1d", claim),
    "mnist1d_reached.png": ("mnist1d", reached),
    "mnist1d_front.png": ("mnist1d", front),
    "mnist1d_rounds.png": ("mnist1d", rounds),
    "clrs_front.png": ("clrs", partial(front, least=1)),
}
"""The folder of an experiment, and what is drawn of its searches."""


def main(folder: Path, names: Sequence[str]) -> None:
    """Draw these pictures, or all."""
    for name in names or PICTURES:
        experiment, draw = PICTURES[name]
        searches = read_searches(HERE / experiment)
        many = Counter(search.arm for search in searches)
        searches.sort(key=lambda search: many[search.arm] < LEAST)  # an arm has the same colour in all charts
        made = draw(searches)
        for chart in made:
            chart.update(
                width=WIDTH, height=HEIGHTS.get(chart.name, HEIGHT), sizing_mode="fixed", toolbar_location=None
            )
            chart.update(background_fill_color="white", background_fill_alpha=1)
            chart.update(border_fill_color="white", border_fill_alpha=1)
        with launched("--hide-scrollbars") as browser:
            picture = get_screenshot_as_png(column(*made), driver=browser, resources=INLINE)
        picture.convert("RGB").quantize(COLOURS).save(folder / name, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else HERE, sys.argv[2:])
