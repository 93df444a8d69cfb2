from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from support.reporting import START, candidate, make_run, trained, write

from evohpc.report.clock import lm_intervals, mean_at_work, round_times
from evohpc.report.runs import Run, read
from evohpc.run_folder import RunDir

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")


def evaluated(name: str, round: int, end: int, seconds: float) -> tuple[object, object]:
    """Return a candidate whose evaluation ended so many seconds after the start."""
    result = trained(name, 100, 0.1, at=START + timedelta(seconds=end), seconds={"total": seconds})
    return candidate(name, round=round), result


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = make_run(tmp_path, 0, rounds=2)
    entries = [
        evaluated("seed-a", -1, 10, 10),
        evaluated("r000p00s000", 0, 130, 20),
        evaluated("r000p00s001", 0, 130, 30),
    ]
    write(made, entries)  # type: ignore[arg-type]
    spans = [("tuning", 15, 30), ("drawing", 40, 80)]
    lines = [
        {"doing": doing, "seconds": seconds, "ended_at": (START + timedelta(seconds=end)).isoformat()}
        for doing, seconds, end in spans
    ]
    path = RunDir(made).round(0).lm_times
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(map(json.dumps, lines)) + "\nnot JSON\n[1]\n")
    return read(made)


def test_a_round_lasts_from_the_end_of_the_one_before(run: Run) -> None:
    seeds, first = round_times(run)
    assert (seeds.round, seeds.seconds) == (-1, {"evaluating": 10})
    assert first.seconds == {"tuning": 15, "drawing": 40, "waiting": 100 - 10 - 55, "evaluating": 30}


def test_the_language_model_is_at_work_when_it_says_so(run: Run) -> None:
    begin = START.timestamp()
    assert [(left - begin, right - begin) for left, right in lm_intervals(run)] == [(15, 30), (40, 80)]


def test_the_average_is_over_the_whole_search(run: Run) -> None:
    assert mean_at_work(run) == pytest.approx(60 / 130)
    assert mean_at_work(Run("empty", Path(), [], [], frozenset(), "")) == 0
