"""Where the children went: outcomes by round and temperature, and the failures by class. A click lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bokeh.models import ColumnDataSource, FactorRange, NumeralTickFormatter

from evohpc.messages import SEED_ROUND
from evohpc.report.columns import Columns
from evohpc.report.figures import style
from evohpc.report.figures.style import Figure
from evohpc.report.tables import OUTCOMES


def by_round(table: Columns) -> Figure | None:
    """Draw the number of children a round, by outcome."""
    pairs = [(str(r), o) for r, o in zip(table.round, table.outcome, strict=True) if r != SEED_ROUND]
    rounds = [str(r) for r in range(max((int(r) for r, _ in pairs), default=-1) + 1)]
    return _stacks("outcomes", "round", "children", rounds, pairs)


def by_temperature(table: Columns) -> Figure | None:
    """Draw the share of outcomes at each temperature, of what a language model drew."""
    pairs = [(f"{t:g}", o) for t, o in zip(table.temperature, table.outcome, strict=True) if t is not None]
    hot = sorted({t for t, _ in pairs}, key=float)
    made = _stacks("temperatures", "temperature of the draw", "share of children", hot, pairs, is_share=True)
    if made is not None:
        made.yaxis.formatter = NumeralTickFormatter(format="0%")
    return made


def failures(table: Columns) -> Figure | None:
    """Draw how often each class of failure and refusal occurred, the most frequent on top."""
    bad = ("failed", "refused", "machine fault")
    found = Counter(
        (status, outcome)
        for status, outcome, round in zip(table.status, table.outcome, table.round, strict=True)
        if outcome in bad and round != SEED_ROUND
    )
    if not found:
        return None
    ranked = sorted(found, key=lambda key: found[key])
    data = {
        "status": [status for status, _ in ranked],
        "name": [status.replace("_", " ") for status, _ in ranked],
        "count": [found[key] for key in ranked],
        "colour": [style.OUTCOME_COLOURS[outcome] for _, outcome in ranked],
        "outcome": [outcome for _, outcome in ranked],
    }
    made = style.chart(
        "failures", "children", "", y_range=FactorRange(*data["name"]), height=80 + 34 * len(ranked), tools="tap,save"
    )
    source = ColumnDataSource(data, name="failures_source")
    bars = made.hbar(y="name", right="count", height=0.7, source=source, color="colour", line_alpha=0)
    _finish(made, bars, ("class", "@name"), ("children", "@count{0,0}"))
    style.whole_numbers(made.xaxis)
    made.x_range.start = 0
    return made


def _stacks(
    name: str, x: str, y: str, factors: Sequence[str], pairs: Iterable[tuple[str, str]], *, is_share: bool = False
) -> Figure | None:
    """Draw a stack of outcomes for each factor; the source has a row for each piece, so that a click knows which."""
    if not factors:
        return None
    found = Counter(pairs)
    source = ColumnDataSource(_pieces(found, factors, is_share), name=f"{name}_source")
    made = style.chart(name, x, y, x_range=FactorRange(*factors), tools="tap,save")
    bars = made.vbar(
        x="x",
        bottom="bottom",
        top="top",
        width=0.8,
        source=source,
        color="colour",
        line_alpha=0,
        nonselection_alpha=0.25,
    )
    _finish(made, bars, (x, "@x"), ("outcome", "@outcome"), ("children", "@count{0,0}"))
    made.y_range.start = 0
    if is_share:
        made.y_range.end = 1
    else:
        style.whole_numbers(made.yaxis)
    return made


def _pieces(found: Counter[tuple[str, str]], factors: Sequence[str], is_share: bool) -> dict[str, list[Any]]:
    pieces: dict[str, list[Any]] = {name: [] for name in ("x", "outcome", "count", "bottom", "top", "colour")}
    named = [outcome for outcome in OUTCOMES if any(found[factor, outcome] for factor in factors)]
    for factor in factors:
        whole = sum(found[factor, outcome] for outcome in named) if is_share else 1
        bottom = 0.0
        for outcome in named:
            count = found[factor, outcome]
            top = bottom + count / max(whole, 1)
            row = (factor, outcome, count, bottom, top, style.OUTCOME_COLOURS[outcome])
            for column, value in zip(pieces.values(), row, strict=True):
                column.append(value)
            bottom = top
    return pieces


def _finish(made: Figure, bars: Any, *lines: tuple[str, str]) -> None:
    style.hover(made, [bars], *lines)
    made.grid.grid_line_color = None
    style.outcome_legend(made, bars, list(bars.data_source.data["outcome"]))
