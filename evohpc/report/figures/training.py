"""How the error of the chosen candidate fell in training, beside its parents'. The page's scripts fill it in."""

from __future__ import annotations

from collections.abc import Mapping

from bokeh.models import ColumnDataSource, Range1d

from evohpc.evaluation.curve import Curve
from evohpc.report.curves import floor
from evohpc.report.figures import style
from evohpc.report.figures.style import Figure


def training(curves: Mapping[int, Curve]) -> Figure | None:
    """Draw the axes, the same for all candidates, so that one can be compared with another."""
    if not curves:
        return None
    last = max(curve[-1][0] for curve in curves.values())
    low, high = floor(curves), max(error for curve in curves.values() for _, error in curve)
    made = style.chart(
        *("curve", "step, or number of the checkpoint", "error (log scale)"),
        **{"height": 280, "y_axis_type": "log", "x_range": Range1d(-0.02 * last, 1.02 * last)},
    )
    made.y_range = Range1d(low / 1.2, max(high, low) * 1.2)
    style.log_ticks(made.yaxis, low, max(high, 2 * low))
    parents = made.multi_line("xs", "ys", source=_filled("parents", "xs", "ys"), color=style.GREY, line_width=1.5)
    own = _filled("own", "x", "y", "error")
    line = made.line("x", "y", source=own, color=style.BLUE, line_width=2.5)
    dots = made.scatter("x", "y", source=own, color=style.BLUE, size=4)
    least = made.scatter("x", "y", source=_filled("least", "x", "y"), color=style.ORANGE, size=10, line_color="white")
    style.hover(made, [dots], ("step", "@x{0,0}"), ("error", "@error{0.[0000]}"))
    style.legend(made, ("this candidate", [line]), ("its least error", [least]), ("its parents", [parents]))
    return made


def _filled(name: str, *columns: str) -> ColumnDataSource:
    return ColumnDataSource({column: [] for column in columns}, name=f"curve_{name}")
