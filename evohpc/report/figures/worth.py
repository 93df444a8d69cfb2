"""Is it worth it: the best so far against what it cost, and how many children are any good."""

from __future__ import annotations

from bokeh.models import ColumnDataSource, FactorRange, NumeralTickFormatter, Range1d, TeeHead, Whisker

from evohpc.messages import SEED_ROUND
from evohpc.report import rounds
from evohpc.report.columns import Columns
from evohpc.report.figures import style
from evohpc.report.figures.style import Figure
from evohpc.report.runs import Run
from evohpc.report.tables import OUTCOMES
from evohpc.report.text import MINUS, unit_of_time

FEW_SEEDS = 8
"""Up to so many seeds have a line each; of more, only the best."""


def by_children(table: Columns, target: float | None) -> Figure | None:
    """Draw the best fitness so far against the number of children, in the order in which they were drawn."""
    places = [place for place, round in enumerate(table.round) if round != SEED_ROUND]
    made = _progress(table, "best_by_children", "children drawn", places, list(range(1, len(places) + 1)), target)
    if made is not None:
        style.whole_numbers(made.xaxis)
    return made


def by_hours(table: Columns, target: float | None) -> Figure | None:
    """Draw the best fitness so far against the time that all evaluations took, seeds and failures included."""
    run = table.run
    ended = sorted((e.result.finished_at, i) for i, e in enumerate(run.entries) if e.result is not None)
    places, hours, total = [], [], 0.0
    for _, place in ended:
        total += run.hours.get(table.id[place], 0.0)
        places.append(place)
        hours.append(total)
    unit, per_hour = unit_of_time(total)
    label = f"evaluation time, {unit} (wall clock, summed over candidates)"
    return _progress(table, "best_by_hours", label, places, [h * per_hour for h in hours], target)


def _progress(
    table: Columns, name: str, label: str, places: list[int], cost: list[float], target: float | None
) -> Figure | None:
    """Draw candidates and the best so far. Where all fitness is negative, it is on a log axis that points up."""
    if not any(table.counts[place] for place in places):
        return None
    known = [table.fitness[p] for p in table.scored if table.counts[p]] + ([] if target is None else [target])
    is_log = max(known) < 0
    sign = -1 if is_log else 1
    what = f"{MINUS}fitness (log scale, up is better)" if is_log else "fitness (up is better)"
    made = style.chart(
        name, label, what, y_axis_type="log" if is_log else "linear", tools="pan,box_zoom,tap,lasso_select,reset,save"
    )
    made.y_range = _range(known, is_log)
    if is_log:
        made.yaxis.formatter = NumeralTickFormatter(format="0,0.[000]")
        style.log_ticks(made.yaxis, made.y_range.end, made.y_range.start)
    pairs = [(x, p) for x, p in zip(cost, places, strict=True) if table.counts[p]]
    dots, best = _dots(made, table, pairs, sign), _steps(made, table, pairs, cost, sign)
    style.legend(made, ("candidate", [dots]), ("best so far", [best]), *_lines(made, table, target, sign))
    return made


def _range(fitness: list[float], is_log: bool) -> Range1d:
    """Return what holds all of it, the fittest on top, with a margin."""
    low, high = min(fitness), max(fitness)
    if is_log:
        margin = max((low / high) ** 0.05, 1.05)
        return Range1d(-low * margin, -high / margin)
    margin = 0.05 * (high - low) or 1.0
    return Range1d(low - margin, high + margin)


def _dots(made: Figure, table: Columns, pairs: list[tuple[float, int]], sign: int) -> object:
    chosen = [place for _, place in pairs]
    fitness = table.take("fitness", chosen)
    source = style.points(
        x=[x for x, _ in pairs], y=[sign * f for f in fitness], row=chosen, id=table.take("id", chosen), fitness=fitness
    )
    dots = made.scatter("x", "y", source=source, size=5, color=style.GREY, alpha=0.55, nonselection_alpha=0.08)
    style.hover(made, [dots], ("candidate", "@id"), ("fitness", "@fitness{0,0.[000]}"))
    return dots


def _steps(made: Figure, table: Columns, pairs: list[tuple[float, int]], cost: list[float], sign: int) -> object:
    """Draw the best so far; the best seed is where it begins."""
    best = max((table.fitness[p] for p in table.seeds if table.counts[p]), default=None)
    xs, ys = ([0.0], [sign * best]) if best is not None else ([], [])
    for x, place in pairs:
        if best is None or table.fitness[place] > best:
            best = table.fitness[place]
            xs.append(x)
            ys.append(sign * best)
    return made.step([*xs, cost[-1]], [*ys, ys[-1]], mode="after", line_width=2.5, color=style.BLUE)


def _lines(made: Figure, table: Columns, target: float | None, sign: int) -> list[tuple[str, list[object]]]:
    seeds = sorted((p for p in table.seeds if table.counts[p]), key=lambda place: -table.fitness[place])
    drawn = []
    if seeds:
        best, *others = seeds
        line = style.line_across(made, sign * table.fitness[best], style.ORANGE, "dashed")
        drawn.append(("best seed", [line]))
        others = others if len(seeds) <= FEW_SEEDS else []
        thin = [style.line_across(made, sign * table.fitness[p], style.ORANGE, "dotted", width=1) for p in others]
        drawn.append(("other seeds", thin[:1]))
    if target is not None:
        line = style.line_across(made, sign * target, style.MAGENTA, "dashdot", width=2)
        drawn.append((f"target {target:g}".replace("-", MINUS), [line]))
    return drawn


def valid_novel(run: Run) -> Figure | None:
    """Draw the share of children that were new and could be trained, with 95 % intervals."""
    rows = [row for row in rounds.round_rows(run) if row["round"] != SEED_ROUND and row["valid_novel"] is not None]
    if not rows:
        return None
    names = {"x": "round", "share": "valid_novel", "low": "valid_novel_low", "high": "valid_novel_high"}
    data = {name: [row[key] for row in rows] for name, key in names.items()}
    data["x"] = [str(round) for round in data["x"]]
    counted = [rounds.valid_novel({name: row[name.replace(" ", "_")] for name in OUTCOMES}) for row in rows]
    data["novel"], data["settled"] = ([pair[place] for pair in counted] for place in (0, 1))
    source = ColumnDataSource(data)
    made = style.chart("valid_novel", "round", "valid novel children", x_range=FactorRange(*data["x"]), y_range=(0, 1))
    made.yaxis.formatter = NumeralTickFormatter(format="0%")
    whisker = Whisker(base="x", lower="low", upper="high", source=source, line_color=style.BLUE, line_width=1.5)
    for head in (whisker.upper_head, whisker.lower_head):
        assert isinstance(head, TeeHead)
        head.size, head.line_color = 8, style.BLUE
    made.add_layout(whisker)
    dots = made.scatter("x", "share", source=source, size=8, color=style.BLUE)
    style.hover(made, [dots], ("round", "@x"), ("share", "@share{0 %}"), ("valid novel", "@novel of @settled"))
    return made
