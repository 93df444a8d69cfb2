"""Where the hours went: by round and stage, by the clock, and what was at work at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bokeh.models import ColumnDataSource, DatetimeTickFormatter, FactorRange, NumeralTickFormatter

from evohpc.lm_job import times
from evohpc.messages import SEED_ROUND, Result
from evohpc.report import clock
from evohpc.report.colours import STAGE_COLOURS
from evohpc.report.columns import Columns
from evohpc.report.figures import style
from evohpc.report.figures.style import Figure
from evohpc.report.text import unit_of_time

STAGES = ("start", "check", "train", "predict", "confirm", "score")
"""As `Result.seconds` names them; what else an evaluation took is "other"."""

MOST_STEPS = 4000
"""Of the line of evaluations at work; a screen has fewer columns."""


def by_stage(table: Columns) -> Figure | None:
    """Draw the time of all attempts, and of the language model, by round and stage."""
    found = _seconds(table)
    return _stacked("stages", "time, summed", found, (*times.DOINGS, *STAGES, "other"))


def by_clock(table: Columns) -> Figure | None:
    """Draw what each round took by the clock."""
    found = {one.round: one.seconds for one in clock.round_times(table.run)}
    return _stacked("clock", "time by the clock", found, (*times.DOINGS, clock.WAITING, clock.EVALUATING))


def _stacked(name: str, label: str, found: Mapping[int, Mapping[str, float]], parts: Sequence[str]) -> Figure | None:
    """Draw a bar a round, of its parts from the bottom up."""
    parts = [part for part in parts if any(seconds.get(part) for seconds in found.values())]
    if not parts:
        return None
    unit, per_hour = unit_of_time(max(sum(seconds.values()) for seconds in found.values()) / 3600)
    names = ["seeds" if round == SEED_ROUND else str(round) for round in found]
    data = {"x": names, **{p: [s.get(p, 0) / 3600 * per_hour for s in found.values()] for p in parts}}
    made = style.chart(name, "round", f"{label}, {unit}", x_range=FactorRange(*names), tools="save")
    colours = [STAGE_COLOURS[part] for part in parts]
    bars = made.vbar_stack(parts, x="x", width=0.8, source=ColumnDataSource(data), color=colours, line_alpha=0)
    for part, bar in zip(parts, bars, strict=True):
        style.hover(made, [bar], ("round", "@x"), (part, f"@{part}{{0,0.[00]}} {unit}"))
    style.legend(made, *((part, [bar]) for part, bar in zip(parts, bars, strict=True)))
    made.yaxis.formatter = NumeralTickFormatter(format="0,0.[00]")
    made.grid.grid_line_color = None
    made.y_range.start = 0
    return made


def at_work(table: Columns) -> Figure | None:
    """Draw how many evaluations were at work at each time, and when the language model was."""
    steps = list(_steps(table))
    if not steps:
        return None
    every = max(1, len(steps) // MOST_STEPS)
    steps = [step for number, step in enumerate(steps) if number % every == 0 or number == len(steps) - 1]
    made = style.chart(
        *("at_work", "time (UTC)", "evaluations at work"),
        x_axis_type="datetime",
        height=240,
        tools="xpan,xbox_zoom,reset,save",
    )
    moments, counts = zip(*steps, strict=True)
    model = _bands(made, list(clock.lm_intervals(table.run)), max(counts))
    line = made.step(moments, counts, mode="after", color=style.BLUE, line_width=1.5)
    mean = clock.mean_at_work(table.run)
    average = style.line_across(made, mean, style.ORANGE, "dashed")
    named = [("evaluations at work", [line]), (f"{mean:.2g} on average", [average])]
    style.legend(made, *named, *([] if model is None else [("language model at work", [model])]))
    made.xaxis.formatter = DatetimeTickFormatter(
        **dict.fromkeys(("seconds", "minsec"), "%H:%M:%S"),
        **dict.fromkeys(("minutes", "hourmin", "hours"), "%H:%M"),
        days="%d %b",
        months="%b %Y",
    )
    style.whole_numbers(made.yaxis)
    made.y_range.start = 0
    return made


def _bands(made: Figure, intervals: Sequence[tuple[float, float]], height: int) -> Any:
    """Shade these times; return what a legend can name, None if there are none."""
    if not intervals:
        return None
    left, right = ([_moment(interval[side]) for interval in intervals] for side in (0, 1))
    colour = STAGE_COLOURS["drawing"]
    return made.quad(left=left, right=right, bottom=0, top=height, color=colour, alpha=0.35, line_alpha=0)


def _seconds(table: Columns) -> dict[int, dict[str, float]]:
    """Return the seconds of all attempts, and of the language model, by round and stage."""
    round_of = dict(zip(table.id, table.round, strict=True))
    found: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for result in table.run.attempts:
        round = round_of.get(result.candidate_id, SEED_ROUND)
        for stage, seconds in _split(result).items():
            found[round][stage] += seconds
    for round, spans in table.run.lm_spans.items():
        for span in spans:
            found[round][span.doing] += span.seconds
    return {round: dict(found[round]) for round in sorted(found)}


def _split(result: Result) -> dict[str, float]:
    known = {stage: result.seconds[stage] for stage in STAGES if stage in result.seconds}
    rest = result.seconds.get("total", 0.0) - sum(known.values())
    return {**known, "other": rest} if rest > 0 else known


def _steps(table: Columns) -> Iterator[tuple[datetime, int]]:
    intervals = [at_work for result in table.run.attempts if (at_work := clock.interval(result)) is not None]
    running = 0
    for time, change in sorted(change for begin, end in intervals for change in ((begin, 1), (end, -1))):
        running += change
        yield _moment(time), running


def _moment(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC).replace(tzinfo=None)
