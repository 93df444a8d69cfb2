"""Groups of searches against each other: mean and interval of the best so far, and what each run reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.models import FactorRange, NumeralTickFormatter, Range1d
from bokeh.transform import jitter

from evohpc.report.comparison import Band
from evohpc.report.figures import style
from evohpc.report.figures.style import Figure
from evohpc.report.text import MINUS

COLOURS = (style.BLUE, style.ORANGE, "#009988", style.MAGENTA, style.CYAN, "#aa4499", "#cc3311", style.GREY)
DASHES = ("solid", "dashed", "dotdash", "dotted")
"""A group is told by both, so that a print without colours shows it."""


def look(place: int) -> tuple[str, str]:
    """Return the colour and the dash of a group by its place: of more than there are colours, other pairs."""
    return COLOURS[place % len(COLOURS)], DASHES[(place + place // len(COLOURS)) % len(DASHES)]


def progress(name: str, label: str, bands: Sequence[Band], target: float | None) -> Figure | None:
    """Draw the mean of the best so far with its interval, one line a group."""
    bands = [band for band in bands if band.cost.size]
    if not bands:
        return None
    values = [value for band in bands for part in (band.mean, band.low, band.high) for value in part if value == value]
    made, sign = _fitness_chart(name, label, values + ([] if target is None else [target]))
    legend = []
    for place, band in enumerate(bands):
        colour, dash = look(place)
        made.varea(band.cost, sign * band.low, sign * band.high, fill_color=colour, fill_alpha=0.15)
        line = made.line(band.cost, sign * band.mean, color=colour, line_dash=dash, line_width=2.5)
        legend.append((band.group, [line]))
    if target is not None:
        legend.append(
            (
                f"target {target:g}".replace("-", MINUS),
                [style.line_across(made, sign * target, style.MAGENTA, "dashdot")],
            )
        )
    style.legend(made, *legend)
    made.xaxis.formatter = NumeralTickFormatter(format="0,0.[000]")
    return made


def reached(runs: Sequence[dict[str, Any]]) -> Figure | None:
    """Draw the best fitness of each run at equal evaluations, by group."""
    rows = [row for row in runs if row["best_at_equal_evaluations"] is not None]
    if not rows:
        return None
    factors = list(dict.fromkeys(row["group"] for row in rows))
    values = [row["best_at_equal_evaluations"] for row in rows]
    made, sign = _fitness_chart("reached", "group", values, x_range=FactorRange(*factors))
    data = {
        "x": [row["group"] for row in rows],
        "y": [sign * value for value in values],
        "id": [row["run"] for row in rows],
        "row": list(range(len(rows))),
        "fitness": values,
        "colour": [look(factors.index(row["group"]))[0] for row in rows],
    }
    source = style.points(**data)
    source.tags = []  # runs, and no candidates
    dots = made.scatter(
        jitter("x", width=0.25, range=made.x_range), "y", source=source, size=9, color="colour", alpha=0.75
    )
    style.hover(made, [dots], ("run", "@id"), ("fitness", "@fitness{0,0.[000]}"))
    return made


def _fitness_chart(name: str, label: str, values: Sequence[float], **more: Any) -> tuple[Figure, int]:
    """Return a chart of fitness and the sign to draw it with: where all is negative, on a log axis that points up."""
    low, high = min(values), max(values)
    if high >= 0:
        margin = 0.05 * (high - low) or 1.0
        span = Range1d(low - margin, high + margin)
        return style.chart(name, label, "best fitness (up is better)", y_range=span, **more), 1
    margin = max((low / high) ** 0.05, 1.05)
    span, what = Range1d(-low * margin, -high / margin), f"{MINUS}best fitness (log scale, up is better)"
    made = style.chart(name, label, what, y_range=span, y_axis_type="log", **more)
    made.yaxis.formatter = NumeralTickFormatter(format="0,0.[000]")
    style.log_ticks(made.yaxis, span.end, span.start)
    return made, -1
