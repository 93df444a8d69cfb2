from __future__ import annotations

from pathlib import Path

import pytest
from support.reporting import candidate, trained

pytest.importorskip("bokeh", reason="pip install 'evohpc[report]'")

from evohpc.messages import Status
from evohpc.report.columns import columns
from evohpc.report.figures.lineage import lineage
from evohpc.report.runs import Run
from evohpc.store.rows import Entry


def test_who_failed_and_was_repaired_has_a_place_that_lines_lead_to() -> None:
    entries = [
        Entry(candidate("seed-a"), trained("seed-a", 100, 0.2)),
        Entry(candidate("good", round=0, parents=("seed-a",)), trained("good", 50, 0.2)),
        Entry(candidate("broken", round=0, parents=("seed-a",), status=Status.BUILD_ERROR), None),
        Entry(candidate("childless", round=0, parents=("seed-a",), status=Status.BUILD_ERROR), None),
        Entry(candidate("mended", round=1, parents=("broken",)), trained("mended", 10, 0.2)),
    ]
    made = lineage(columns(Run("r", Path(), entries, [], frozenset({-1, 0, 1}), "val_accuracy")))
    assert made is not None
    data = next(r.data_source.data for r in made.renderers if "candidates" in r.data_source.tags)
    drawn = dict(zip(data["id"], zip(data["x"], data["y"], data["mark"], strict=True), strict=True))
    assert drawn == {
        "seed-a": (-1, 1, "circle"),
        "good": (0, 1, "circle"),
        "mended": (1, 1, "circle"),
        "broken": (0, 2, "x"),
    }
    assert made.y_range.start > 2
