from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("bokeh", reason="pip install 'evohpc[report]'")

from evohpc.report.comparison import Band
from evohpc.report.figures import compare


def test_of_many_groups_no_two_look_the_same() -> None:
    count = len(compare.COLOURS) * len(compare.DASHES)
    assert len({compare.look(place) for place in range(count)}) == count


@pytest.mark.parametrize(("length", "rows"), [(4, 1), (20, 3), (60, 6)])
def test_a_legend_of_many_groups_has_rows_enough_for_all_names(length: int, rows: int) -> None:
    cost = np.arange(2.0)
    groups = [f"{place:0{length}}" for place in range(12)]
    made = compare.progress(
        "progress", "children", [Band(name, cost, -cost - 1, -cost - 2, -cost) for name in groups], None
    )
    assert made is not None
    (legend,) = made.legend
    assert [item.label.value for item in legend.items] == groups
    assert -(-len(groups) // legend.ncols) == rows
