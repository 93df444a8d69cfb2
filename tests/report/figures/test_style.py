from __future__ import annotations

import pytest

pytest.importorskip("bokeh", reason="pip install 'evohpc[report]'")

from evohpc.report.figures import style


@pytest.mark.parametrize(
    ("low", "high"),
    [(430, 760), (640, 720), (0.0691, 0.0693), (1, 1.1), (719, 719.001), (4, 9), (100, 200), (1, 30), (1e-3, 1e4)],
)
def test_a_log_axis_has_three_ticks_in_sight_at_least(low: float, high: float) -> None:
    made = style.chart("x", "x", "y", y_axis_type="log")
    style.log_ticks(made.yaxis, low, high)
    ticks = made.yaxis[0].ticker.ticks
    assert 3 <= sum(low <= tick <= high for tick in ticks) <= 16
    assert all(tick > 0 for tick in ticks)
    assert len(ticks) < 60


def test_even_steps_are_round_numbers() -> None:
    assert [tick for tick in style.even_ticks(640, 720) if 640 <= tick <= 720] == [640, 660, 680, 700, 720]
