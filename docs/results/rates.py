"""The table of what tuning at several rates changes, from what `benchmarks/learning_rates.py` writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from searches import OUTCOMES, Row, read, share

from evohpc.report.intervals import Z_95


def rates(folder: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row a rate of tuning: the loss of children before it saw them, and how others ended."""
    loss = "loss, unseen children", "last step of all tunings"
    yield "rate", *loss, "children", *OUTCOMES, "of these empty", "trained more than without, points"
    losses, outcomes = read(folder / "losses.csv"), read(folder / "outcomes.csv")
    without = {_place(row): row["outcome"] == "trained" for row in outcomes if not float(row["rate"])}
    for rate in sorted({row["rate"] for row in outcomes}, key=float):
        drawn = [row for row in outcomes if row["rate"] == rate]
        later = [row for row in losses if row["rate"] == rate and row["round"] != "1"]  # the first has none before it
        unseen, last = (
            _weighted([(row["losses"].split()[step], row["examples"]) for row in later]) for step in (0, -1)
        )
        counts = Counter(row["outcome"] for row in drawn)
        shares = [share(counts[name], len(drawn)) for name in OUTCOMES]
        empty = sum(row["detail"] == "empty" for row in drawn)
        more = [100.0 * ((row["outcome"] == "trained") - without[_place(row)]) for row in drawn]
        tuned, ahead = ((rate, unseen, last), _points(more)) if float(rate) else (("none", unseen, ""), "")
        yield *tuned, str(len(drawn)), *shares, str(empty), ahead


def _points(differences: Sequence[float]) -> str:
    """Return the mean of many paired differences with its 95 % interval, by the normal distribution."""
    mean, half = float(np.mean(differences)), Z_95 * float(np.std(differences, ddof=1)) / len(differences) ** 0.5
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def _place(row: Row) -> tuple[str, str]:
    """Return which completion of which prompt this is: the same noise at all rates."""
    return row["prompt"], row["sample"]


def _weighted(values: Sequence[tuple[str, str]]) -> str:
    """Return a mean, the second of each being how much the first counts."""
    return f"{sum(float(value) * int(count) for value, count in values) / sum(int(count) for _, count in values):.2f}"
