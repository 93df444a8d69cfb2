from __future__ import annotations

import io
import logging
import re
from dataclasses import replace

import pytest
from rich.console import Console

from evohpc.cli.progress import Display, Forecast, duration, line
from evohpc.driver.progress import Progress
from evohpc.messages import SEED_ROUND, Status


def progress(round: int, step: str = "evaluate", done: int = 3, **more: object) -> Progress:
    counts = {Status.TRAINED: 2, Status.DUPLICATE: 1}
    return Progress(round, 4, step, done, 8, counts, None, **more)  # type: ignore[arg-type]


def test_nothing_is_forecast_before_a_whole_round_was_seen() -> None:
    forecast = Forecast()
    assert forecast.left(progress(SEED_ROUND), 0) is None
    assert forecast.left(progress(0), 10) is None
    assert forecast.left(progress(0), 60) is None
    assert forecast.left(progress(1), 110) == 300
    assert forecast.left(progress(1), 150) == 260
    assert forecast.left(progress(2), 310) == 300


def test_a_round_that_began_in_an_earlier_process_is_no_measure() -> None:
    forecast = Forecast()
    forecast.left(progress(1), 0)
    assert forecast.left(progress(2), 5) is None
    assert forecast.left(progress(3), 105) == 100


def test_an_overdue_round_is_not_almost_over_all_the_while() -> None:
    forecast = Forecast()
    for round, now in ((0, 10), (1, 110), (2, 210)):
        forecast.left(progress(round), now)
    assert forecast.left(progress(2), 250) == 160
    assert forecast.left(progress(2), 900) == 100, "the round behind it"
    assert forecast.left(progress(3), 1010) == 450
    assert forecast.left(progress(3), 1459) == 1
    assert forecast.left(progress(3), 1461) is None, "nobody knows how much longer"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(4, "under a minute"), (125, "about 2 min"), (7500, "about 2 h 05 min")]
)
def test_durations_are_for_people(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_a_line_of_a_log_says_where_how_far_and_what_came_of_it() -> None:
    said = line(progress(1, held=("AssocMaxJobsLimit",)), 125)
    assert said[9:] == (
        "round 1 (of 0-3): training candidates 3/8; 2 trained, 1 duplicate, held: AssocMaxJobsLimit, about 2 min left"
    )
    nothing_yet = replace(progress(1), step="propose", total=1, counts={}, best=None)
    assert line(nothing_yet, None)[9:] == "round 1 (of 0-3): writing prompts"


def test_a_log_gets_a_line_per_step_and_not_per_poll() -> None:
    console = Console(file=io.StringIO(), width=40)
    with Display(console) as display:
        for done in range(5):
            display.observe(progress(0, done=done))
        display.observe(progress(0, "close"))
    assert console.file.getvalue().count("\n") == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_live_line_of_a_narrow_terminal_keeps_the_count_and_the_time_left(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    monkeypatch.setattr(Forecast, "left", lambda *given: 7500.0)
    with Display(console) as display:
        display.observe(progress(0, held=("x" * 200,)))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue()).split("\r")[-1]  # type: ignore[attr-defined]
    first, *rest = shown.rstrip("\n").split("\n")
    for said in ("3/8", "about 2 h 05 min left", "round 0 (of 0-3)", "training candidates", "2 trained"):
        assert said in first or (said == "2 trained" and width == 80)
    assert first.index("left") < first.index("round 0") < first.index("…")
    assert not any(line.strip() for line in rest), "it is one line"
    assert ("━" in first) == (width >= 120)


def test_a_terminal_gets_a_live_line() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    with Display(console) as display:
        display.observe(progress(0))
        logging.getLogger("evohpc").warning("a file was moved to quarantine")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "training candidates" in shown
    assert "3/8" in shown
    assert "a file was moved to quarantine" in shown
