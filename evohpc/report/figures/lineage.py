"""Lineage: who descends from whom. The lines are drawn by the page's scripts, for the candidate that is chosen."""

from __future__ import annotations

from collections import Counter, defaultdict

from bokeh.models import ColumnDataSource, FixedTicker, NumeralTickFormatter, Range1d

from evohpc.messages import SEED_ROUND
from evohpc.report.columns import Columns
from evohpc.report.figures import style
from evohpc.report.figures.style import Figure


def lineage(table: Columns) -> Figure | None:
    """Draw every scored candidate by round and rank, and below them those that failed and were shown to be repaired."""
    if all(table.round[place] == SEED_ROUND for place in table.scored):
        return None
    ranks = _ranks(table)
    ranks |= _repaired(table, ranks)
    places = list(ranks)
    made = style.chart(
        "lineage",
        "round",
        "rank by fitness in its round (log scale)",
        y_axis_type="log",
        y_range=Range1d(max(ranks.values()) * 1.3, 0.8),
        tools="tap,pan,box_zoom,reset,save",
    )
    rounds = table.take("round", places)
    named = {name: table.take(name, places) for name in ("id", "fitness", "status")}
    marks = ["circle" if fitness is not None else "x" for fitness in named["fitness"]]
    source = style.points(row=places, x=rounds, y=list(ranks.values()), mark=marks, **named)
    dots = made.scatter(
        "x", "y", marker="mark", source=source, size=6, color=style.GREY, alpha=0.5, nonselection_alpha=0.12
    )
    lines = made.multi_line("xs", "ys", source=_lit("edges", "xs", "ys"), color=style.GREY, line_width=1, alpha=0.7)
    path = made.multi_line("xs", "ys", source=_lit("path", "xs", "ys"), color=style.ORANGE, line_width=2.5)
    kin = made.scatter("x", "y", source=_lit("kin", "x", "y"), size=8, color=style.BLUE)
    chosen = made.scatter("x", "y", source=_lit("chosen", "x", "y"), size=13, color=style.ORANGE, line_color="white")
    style.hover(
        made, [dots], ("candidate", "@id"), ("rank", "@y"), ("fitness", "@fitness{0,0.[000]}"), ("outcome", "@status")
    )
    style.legend(
        *(made, ("chosen", [chosen]), ("path of fittest parents", [path]), ("other descent", [lines])),
        *(("ancestor or descendant", [kin]), ("other candidate", [dots])),
    )
    made.yaxis.ticker = FixedTicker(ticks=[m * 10**e for e in range(6) for m in (1, 2, 3, 5)])
    made.yaxis.formatter = NumeralTickFormatter(format="0,0")
    _label_rounds(made, max(rounds))
    return made


def _ranks(table: Columns) -> dict[int, int]:
    """Return the rank of each scored candidate in its round, the fittest first: 1."""
    by_round: dict[int, list[int]] = defaultdict(list)
    for place in table.scored:
        by_round[table.round[place]].append(place)
    return {
        place: rank
        for places in by_round.values()
        for rank, place in enumerate(sorted(places, key=lambda p: -table.fitness[p]), start=1)
    }


def _repaired(table: Columns, ranks: dict[int, int]) -> dict[int, int]:
    """Return the candidates that have no rank and a child: prompts showed them to be repaired (`prompt.repairs`). They
    stand below all others of their round."""
    parents = sorted({parent for parents in table.parents for parent in parents}.difference(ranks))
    last = Counter(table.round[place] for place in ranks)
    found = {}
    for place in parents:
        last[table.round[place]] += 1
        found[place] = last[table.round[place]]
    return found


def _lit(name: str, *columns: str) -> ColumnDataSource:
    return ColumnDataSource({column: [] for column in columns}, name=f"lineage_{name}")


def _label_rounds(made: Figure, last: int) -> None:
    step = max(1, (last + 1) // 15)
    ticks = [SEED_ROUND, *range(0, last + 1, step)]
    made.xaxis.ticker = FixedTicker(ticks=ticks)
    made.xaxis.major_label_overrides = {SEED_ROUND: "seeds"}
    made.x_range = Range1d(SEED_ROUND - 0.4, last + 0.4)
