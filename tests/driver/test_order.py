"""Who took long at a rung begins first at the next, and nothing else changes."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from support.climbing import measure
from support.driving import CONFIG, InstantRunner, drive, make_run

from evohpc.driver.order import longest_first
from evohpc.messages import Attempt, Result, Status

pytestmark = pytest.mark.usefixtures("unsynced")

RUNGS = "rungs: [{keep: 0.6, task_options: {steps: 1}}]"
LARGE = CONFIG.replace("samples_per_prompt: 4", "samples_per_prompt: 12")
STEPPED = LARGE.replace("evaluation: {", f"evaluation: {{{RUNGS}, ")


def cost(source: str) -> float:
    return 1.0 + hashlib.sha256(source.encode()).digest()[5]


def timed(source: str, attempt: Attempt) -> Result | None:
    """Return a result whose time follows from the program."""
    result = measure(source, attempt)
    return None if result is None else replace(result, seconds={"total": 1.0, "cpu": cost(source)})


def test_at_the_next_rung_those_begin_first_that_took_longest(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", STEPPED)
    runner = InstantRunner(run, timed)
    rows = drive(run, runner=runner)
    sources = {row["id"]: row["source"] for row in rows["candidates"]}
    began: dict[str, list[Attempt]] = defaultdict(list)
    for job in runner.submitted:
        began[job.name] += [attempt for task in job.tasks for attempt in task if attempt.rung == 1]
    orders = [[cost(sources[a.candidate_id]) for a in order if a.attempt == 2] for order in began.values()]
    assert max(map(len, orders)) > 2
    for order in orders:
        assert order == sorted(order, reverse=True)


def test_of_which_nothing_is_known_begins_last_and_in_its_place() -> None:
    attempts = [Attempt(name, 1) for name in "abcde"]
    lost = Result("c", 1, Status.LOST, seconds={"total": 9.0})
    two, three = (Result(name, 1, Status.TRAINED, seconds={"total": took}) for name, took in (("b", 2.0), ("d", 3.0)))
    order = longest_first(attempts, {"b": [two], "c": [lost], "d": [three]})
    assert "".join(attempt.candidate_id for attempt in order) == "dbace"
