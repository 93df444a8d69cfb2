from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.reporting import candidate, trained

pytest.importorskip("bokeh", reason="pip install 'evohpc[report]'")

from evohpc.messages import Status
from evohpc.report.report import report
from evohpc.report.runs import Run
from evohpc.store.rows import Entry


def shown(run: Run) -> Any:
    """Return what the page's scripts have of a run."""
    packed = re.search('id="data">(.*?)</script>', report(run))
    assert packed
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def run_of(*entries: Entry) -> Run:
    return Run("r", Path(), entries, [], frozenset({-1, 0}), "val_accuracy")


def children(status: Status, count: int) -> list[Entry]:
    made = [candidate(f"{status}-{place}", round=0, status=status) for place in range(count)]
    return [Entry(one, trained(one.id, 100, 0.2) if status is Status.TRAINED else None) for one in made]


def test_who_was_dropped_after_a_rung_is_valid_and_novel_in_the_tile_as_in_the_rounds() -> None:
    outcomes = {Status.TRAINED: 3, Status.DROPPED: 9, Status.DUPLICATE: 12, Status.PENDING: 5, Status.NODE_FAIL: 2}
    data = shown(run_of(*(entry for status, count in outcomes.items() for entry in children(status, count))))
    assert [round["valid_novel"] for round in data["rounds"]] == [0.5]
    assert {name: value for name, value, _ in data["tiles"]}["valid novel children"] == "50.0 %"


def test_a_rule_s_children_have_no_temperature() -> None:
    drawn = candidate("drawn", round=0, temperature=0.8)
    by_rule = candidate("by-rule", round=0, temperature=0.8, tokens=0)
    data = shown(run_of(*(Entry(one, None) for one in (candidate("seed-a", tokens=0), drawn, by_rule))))
    assert data["candidates"]["temperature"] == [None, 0.8, None]


def test_the_table_says_which_trained_candidates_do_not_count() -> None:
    search = {"error_threshold": 0.2, "variant": "naive", "seed": 0}
    run = replace(run_of(*children(Status.TRAINED, 1)), config={"search": search, "task": "mnist1d"})
    table = shown(run)["candidates"]
    assert table["counts"] == [False]
    assert table["detail"] == ["not counted: its error 0.2 is not below 0.2 (search.error_threshold)"]
