from __future__ import annotations

from pathlib import Path

import pytest
from support.reporting import candidate

pytest.importorskip("bokeh", reason="pip install 'evohpc[report]'")

from evohpc.messages import Status
from evohpc.report.columns import columns
from evohpc.report.figures.outcomes import by_temperature
from evohpc.report.runs import Run
from evohpc.store.rows import Entry


def test_a_rule_s_children_count_for_no_temperature() -> None:
    made = {"drawn": (0.8, 90), "by-rule": (0.8, 0), "by-rule-too": (0.2, 0)}
    children = [
        candidate(name, round=0, temperature=temperature, tokens=tokens, status=Status.DUPLICATE)
        for name, (temperature, tokens) in made.items()
    ]
    entries = [Entry(child, None) for child in (candidate("seed-a", tokens=0), *children)]
    figure = by_temperature(columns(Run("r", Path(), entries, [], frozenset({-1, 0}), "val_accuracy")))
    assert figure is not None
    data = figure.renderers[0].data_source.data
    assert (data["x"], data["outcome"], data["count"]) == (["0.8"], ["duplicate"], [1])
