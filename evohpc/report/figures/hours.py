"""Where the hours went: stages of evaluation by round, and how many evaluations were at work at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime

from bokeh.models import ColumnDataSource, DatetimeTickFormatter, FactorRange, NumeralTickFormatter

from evohpc.messages import SEED_ROUND, Result
from evohpc.report.columns import Columns
from evohpc.report.figures import style
from evohpc.report.figures.style import Figure

STAGES = ("start", "check", "train", "predict", "confirm", "score")
"""As `Result.seconds` names them; what else an evaluation took is "other"."""

MOST_STEPS = 4000
"""Of the line of evaluations at work; a screen has fewer columns."""


def by_stage(table: Columns) -> Figure | None:
    """Draw the time of all attempts by round and stage."""
    found = _seconds(table)
    stages = [stage for stage in (*STAGES, "other") if any(stage in spent for spent in found.values())]
    if not stages:
        return None
    unit, per_hour = style.unit_of_time(max(sum(spent.values()) for spent in found.values()) / 3600)
    names = ["seeds" if round == SEED_ROUND else str(round) for round in found]
    data = {"x": names, **{s: [spent.get(s, 0) / 3600 * per_hour for spent in found.values()] for s in stages}}
    made = style.chart("stages", "round", f"evaluation time, {unit}", x_range=FactorRange(*names), tools="save")
    colours = dict(zip((*STAGES, "other"), style.STAGE_COLOURS, strict=True))
    bars = made.vbar_stack(
        stages, x="x", width=0.8, source=ColumnDataSource(data), color=[colours[s] for s in stages], line_alpha=0
    )
    for stage, bar in zip(stages, bars, strict=True):
        style.hover(made, [bar], ("round", "@x"), (stage, f"@{stage}{{0,0.[00]}} {unit}"))
    style.legend(made, *((stage, [bar]) for stage, bar in zip(stages, bars, strict=True)))
    made.yaxis.formatter = NumeralTickFormatter(format="0,0.[00]")
    made.grid.grid_line_color = None
    made.y_range.start = 0
    return made


def at_work(table: Columns) -> Figure | None:
    """Draw how many evaluations were at work at each time. Gaps are the language model, selection and queues."""
    steps = list(_steps(table))
    if not steps:
        return None
    every = max(1, len(steps) // MOST_STEPS)
    steps = [step for number, step in enumerate(steps) if number % every == 0 or number == len(steps) - 1]
    made = style.chart(
        "at_work",
        "time (UTC)",
        "evaluations at work",
        x_axis_type="datetime",
        height=240,
        tools="xpan,xbox_zoom,reset,save",
    )
    times, counts = zip(*steps, strict=True)
    made.step(times, counts, mode="after", color=style.BLUE, line_width=1.5)
    made.xaxis.formatter = DatetimeTickFormatter(
        seconds="%H:%M:%S",
        minsec="%H:%M:%S",
        minutes="%H:%M",
        hourmin="%H:%M",
        hours="%H:%M",
        days="%d %b",
        months="%b %Y",
    )
    style.whole_numbers(made.yaxis)
    made.y_range.start = 0
    return made


def _seconds(table: Columns) -> dict[int, dict[str, float]]:
    """Return the seconds of all attempts by round and stage."""
    round_of = dict(zip(table.id, table.round, strict=True))
    found: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for result in table.run.attempts:
        round = round_of.get(result.candidate_id, SEED_ROUND)
        for stage, seconds in _split(result).items():
            found[round][stage] += seconds
    return {round: dict(found[round]) for round in sorted(found)}


def _split(result: Result) -> dict[str, float]:
    known = {stage: result.seconds[stage] for stage in STAGES if stage in result.seconds}
    rest = result.seconds.get("total", 0.0) - sum(known.values())
    return {**known, "other": rest} if rest > 0 else known


def _steps(table: Columns) -> Iterator[tuple[datetime, int]]:
    changes: list[tuple[float, int]] = []
    for result in table.run.attempts:
        if result.finished_at and "total" in result.seconds:
            end = datetime.fromisoformat(result.finished_at).timestamp()
            changes += [(end - result.seconds["total"], 1), (end, -1)]
    running = 0
    for time, change in sorted(changes):
        running += change
        yield datetime.fromtimestamp(time, UTC).replace(tzinfo=None), running
