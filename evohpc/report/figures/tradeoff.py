"""The trade-off: size against error, with curves of equal fitness, alpha, the seeds and the Pareto front."""

from __future__ import annotations

import math
from typing import Any

from bokeh.core.properties import value
from bokeh.models import BasicTicker, ColorBar, LassoSelectTool, NumeralTickFormatter, Range1d
from bokeh.palettes import Cividis256
from bokeh.transform import linear_cmap

from evohpc.evolution.entry import NUM_PARAMS
from evohpc.messages import SEED_ROUND
from evohpc.report.columns import Columns
from evohpc.report.figures import style
from evohpc.report.figures.style import Figure
from evohpc.report.text import ALPHA, MINUS

_SHADES = Cividis256[64:240]
"""Without its ends, one of which is lost on white and one on black."""


def tradeoff(table: Columns) -> Figure | None:
    """Draw every candidate that was scored, by size and error."""
    if not table.scored:
        return None
    made = style.chart(
        "tradeoff",
        "size (parameters)" if table.run.size_name == NUM_PARAMS else f"size ({table.run.size_name})",
        "validation error",
        x_axis_type="log",
        y_axis_type="log",
        height=520,
        tools="lasso_select,box_select,tap,pan,box_zoom,reset,save",
    )
    made.toolbar.active_drag = made.select_one(LassoSelectTool)
    floor = _floor(table)
    made.x_range, made.y_range = _range(table.take("params", table.scored)), _range(_errors(table, table.scored, floor))
    for axis, span in zip(made.axis, (made.x_range, made.y_range), strict=True):
        axis.formatter = NumeralTickFormatter(format="0,0.[00000]")
        style.log_ticks(axis, span.start, span.end)
    isolines = equal_fitness(made) if table.is_size_times_error else None
    alpha = table.run.error_below
    threshold = style.line_across(made, alpha, style.MAGENTA, "dashed") if alpha < 1 else None
    front = _front(made, table, floor)
    children, seeds = _children(made, table, floor), _seeds(made, table, floor)
    shown = [("child", children), ("seed", seeds), ("Pareto front", front), (f"{ALPHA} = {alpha:g}", threshold)]
    shown.append(("equal fitness", isolines))
    style.legend(made, *((label, [renderer]) for label, renderer in shown if renderer is not None))
    return made


def _floor(table: Columns) -> float:
    """Return where an error of 0 is drawn, which a log axis does not have."""
    return min((table.error[p] for p in table.scored if table.error[p] > 0), default=0.01) / 2


def _errors(table: Columns, places: list[int], floor: float) -> list[float]:
    return [max(error, floor) for error in table.take("error", places)]


def _range(values: list[float]) -> Range1d:
    low, high = min(value for value in values if value > 0), max(values)
    margin = max((high / low) ** 0.06, 1.15)
    return Range1d(low / margin, high * margin)


def _source(table: Columns, places: list[int], floor: float) -> Any:
    names = ("id", "round", "error", "fitness")
    return style.points(
        row=places,
        x=[max(size, 1) for size in table.take("params", places)],
        y=_errors(table, places, floor),
        **{name: table.take(name, places) for name in names},
    )


def _children(made: Figure, table: Columns, floor: float) -> Any:
    places = [place for place in table.scored if table.round[place] != SEED_ROUND]
    if not places:
        return None
    last = max(table.take("round", places))
    colours = linear_cmap("round", _SHADES, 0, max(last, 1))
    dots = made.scatter(
        "x",
        "y",
        source=_source(table, places, floor),
        size=7,
        fill_color=colours,
        line_color=style.GREY,
        line_width=0.5,
        fill_alpha=0.85,
        nonselection_alpha=0.08,
    )
    if last > 0:
        _colour_bar(made, dots)
    _hover(made, dots)
    return dots


def _colour_bar(made: Figure, dots: Any) -> None:
    bar: ColorBar = dots.construct_color_bar(title="round", width=10, padding=6)
    bar.background_fill_alpha = 0
    bar.title_text_font = bar.major_label_text_font = style.FONT
    bar.title_text_font_style, bar.title_text_font_size = "normal", "12px"
    bar.formatter = NumeralTickFormatter(format="0")
    bar.ticker = BasicTicker(min_interval=1)
    made.add_layout(bar, "right")


def _seeds(made: Figure, table: Columns, floor: float) -> Any:
    if not table.seeds:
        return None
    source = _source(table, table.seeds, floor)
    shape = {"marker": "diamond", "size": 15, "fill_color": style.ORANGE, "line_color": "white", "line_width": 1}
    dots = made.scatter("x", "y", source=source, **shape, nonselection_alpha=0.3)
    _hover(made, dots)
    return dots


def _hover(made: Figure, dots: Any) -> None:
    size, error = ("size", "@x{0,0}"), ("error", "@error{0.0000}")
    style.hover(made, [dots], ("candidate", "@id"), size, error, ("fitness", "@fitness{0,0.[000]}"))


def _front(made: Figure, table: Columns, floor: float) -> Any:
    """Draw the front as steps: a point dominates all to the right of it and above."""
    places = table.front
    if len(places) < 2:
        return None
    xs, ys = table.take("params", places), _errors(table, places, floor)
    return made.step(xs, ys, mode="after", line_width=2, color=style.BLUE)


def equal_fitness(made: Figure) -> Any:
    """Draw curves of size x error = 1, 10, 100, ..., or more of them where there are few, on a chart with log axes,
    where they are straight, that has its ranges."""
    (left, right), (bottom, top) = ((r.start, r.end) for r in (made.x_range, made.y_range))
    levels = _levels(left * bottom, right * top)
    ends = [(max(left, c / top), min(right, c / bottom)) for c in levels]
    xs, ys = [list(pair) for pair in ends], [[c / low, c / high] for c, (low, high) in zip(levels, ends, strict=True)]
    curves = made.multi_line(xs, ys, color=style.GREY, line_dash=[2, 3], line_width=1, alpha=0.8)
    made.text(
        [high for _, high in ends],
        [max(c / high, bottom * 1.01) for c, (_, high) in zip(levels, ends, strict=True)],
        text=[f"{MINUS}{c:,g}" for c in levels],
        text_color=style.GREY,
        text_font=value(style.FONT),
        text_font_size=value("11px"),
        text_align="right",
        text_baseline="bottom",
        x_offset=-2,
    )
    return curves


def _levels(lowest: float, highest: float) -> list[float]:
    """Return round numbers within, at most nine."""
    decades = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        levels = [m * 10.0**e for e in decades for m in steps if lowest * 1.2 < m * 10.0**e < highest / 1.2]
        if len(levels) <= 9:
            return levels
    return levels
