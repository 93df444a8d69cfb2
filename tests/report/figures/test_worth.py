from __future__ import annotations

from pathlib import Path

import pytest
from support.reporting import candidate

pytest.importorskip("bokeh", reason="pip install 'evohpc[report]'")

from evohpc.messages import Status
from evohpc.report.figures.worth import valid_novel
from evohpc.report.runs import Run
from evohpc.store.rows import Entry


def test_the_numbers_beside_a_share_are_those_that_it_is_of() -> None:
    outcomes = (Status.TRAINED, Status.DROPPED, Status.DROPPED, Status.DUPLICATE, Status.PENDING, Status.NODE_FAIL)
    entries = [Entry(candidate(f"c{n}", round=0, status=status), None) for n, status in enumerate(outcomes)]
    made = valid_novel(Run("r", Path(), entries, [], frozenset({0}), "val_accuracy"))
    assert made is not None
    data = made.renderers[0].data_source.data
    assert (data["share"], data["novel"], data["settled"]) == ([0.75], [3], [4])
    assert ("valid novel", "@novel of @settled") in made.hover[0].tooltips
