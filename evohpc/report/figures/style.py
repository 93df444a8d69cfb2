"""What all charts have in common: colours that the colour-blind tell apart, sizes, tools, axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Legend,
    LegendItem,
    NumeralTickFormatter,
    Span,
)
from bokeh.plotting import figure

from evohpc.report.colours import BLUE, CYAN, GREY, MAGENTA, ORANGE, OUTCOME_COLOURS
from evohpc.report.tables import OUTCOMES
from evohpc.report.text import visible

__all__ = ["BLUE", "CYAN", "GREY", "MAGENTA", "ORANGE", "OUTCOME_COLOURS"]

FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"

_FEW_TICKS = 3
_LEGEND_WIDTH, _LEGEND_GLYPH, _LEGEND_LETTER = 800, 40, 6
"""Pixels of a legend: of a row at most, and about those of a line's sample and of a letter."""

Figure: TypeAlias = Any
"""A chart of Bokeh, whose own annotations are wrong for half of what it takes (ranges, tickers)."""


def chart(name: str, x: str, y: str, *, tools: str = "pan,box_zoom,reset,save", **more: Any) -> Figure:
    """Return an empty chart.

    Args:
        name: by which the page's scripts finds it.
        x, y: what the axes show, with its unit.
    """
    made = figure(
        name=name,
        x_axis_label=x,
        y_axis_label=y,
        tools=tools,
        **{"height": 360, "sizing_mode": "stretch_width", "output_backend": "canvas", **more},
    )
    made.toolbar.logo = None
    made.toolbar.autohide = True
    made.background_fill_alpha = made.border_fill_alpha = 0
    made.outline_line_color = None
    for axis in made.axis:
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_label_text_font_size, axis.major_label_text_font_size = "13px", "12px"
        axis.axis_label_text_font_style = "normal"
        axis.minor_tick_line_color = None
        axis.major_tick_in = 0
    made.grid.grid_line_alpha = 0.5
    return made


def hover(made: Figure, renderers: Sequence[Any], *lines: tuple[str, str]) -> None:
    """Show these lines for what the pointer is on. Bokeh sets their values as text."""
    made.add_tools(HoverTool(renderers=list(renderers), tooltips=list(lines), point_policy="snap_to_data"))


def whole_numbers(axis: Any) -> None:
    """Have an axis show counts: 1,000."""
    axis.formatter = NumeralTickFormatter(format="0,0")
    axis.ticker.min_interval = 1


def log_ticks(axis: Any, low: float, high: float) -> None:
    """Have a log axis show 1, 2, 5 of each decade, or more where there are few decades, or fewer; where less than three
    of them are in sight, even steps.

    Bokeh's own ticker leaves out most of them where an axis has between one decade and three.
    """
    decades = math.log10(high / low)
    mantissas = (1, 1.5, 2, 3, 5, 7) if decades < 1.2 else (1, 2, 5) if decades < 4 else (1,)
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    ticks = [m * 10.0**e for e in range(first, last + 1) for m in mantissas]
    if sum(low <= tick <= high for tick in ticks) < _FEW_TICKS:
        ticks = even_ticks(low, high)
    axis.ticker = FixedTicker(ticks=ticks)


def even_ticks(low: float, high: float) -> list[float]:
    """Return positive multiples of 1, 2 or 5 of a power of ten: three to six within a range, and as many beside it."""
    rough = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * max(m for m in (1, 2, 5) if m * power <= rough)
    places = range(math.floor((2 * low - high) / step), math.ceil((2 * high - low) / step) + 1)
    return [place * step for place in places if place > 0]


def legend(made: Figure, *items: tuple[str, Sequence[Any]]) -> None:
    """Put a legend above a chart, where it covers no data: in as many rows as it needs, for a chart cuts off
    the rest."""
    entries = [LegendItem(label=label, renderers=list(renderers)) for label, renderers in items if renderers]
    longest = max((len(label) for label, renderers in items if renderers), default=0)
    columns = max(1, _LEGEND_WIDTH // (_LEGEND_GLYPH + _LEGEND_LETTER * longest))
    box = Legend(items=entries, orientation="horizontal", ncols=max(1, min(columns, len(entries))))
    made.add_layout(plain(box), "above")


def outcome_legend(made: Figure, bars: Any, outcomes: Sequence[str]) -> None:
    """Name the colours of bars, whose source has these outcomes row by row, in the order of `OUTCOMES`."""
    items = [
        LegendItem(label=name, renderers=[bars], index=outcomes.index(name)) for name in OUTCOMES if name in outcomes
    ]
    made.add_layout(plain(Legend(items=items, orientation="horizontal")), "above")


def plain(box: Legend) -> Legend:
    """Give a legend neither frame nor ground."""
    box.background_fill_alpha = 0
    box.border_line_color = None
    box.label_text_font, box.label_text_font_size = FONT, "12px"
    box.padding, box.margin, box.spacing, box.label_standoff = 0, 4, 12, 4
    box.location = "left"
    return box


def line_across(made: Figure, value: float, colour: str, dash: str, *, width: float = 1.5) -> Any:
    """Draw a horizontal line over the whole width."""
    span = Span(location=value, dimension="width", line_color=colour, line_dash=dash, line_width=width)
    made.add_layout(span)
    return made.line(
        [math.nan] * 2, [math.nan] * 2, color=colour, line_dash=dash, line_width=width
    )  # what a legend can name


def points(**data: Sequence[Any]) -> ColumnDataSource:
    """Return a source of candidates; `row` is the place of each in the run."""
    columns = {name: list(values) for name, values in data.items()}
    columns["id"] = [visible(id) for id in columns["id"]]
    return ColumnDataSource(columns, tags=["candidates"])
