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
        more: dict[str, list[float]] = {}
        for row in drawn:
            ahead = 100.0 * ((row["outcome"] == "trained") - without[_place(row)])
            more.setdefault(row["prompt"], []).append(ahead)
        tuned, lead = ((rate, unseen, last), points(list(more.values()))) if float(rate) else (("none", unseen, ""), "")
        yield *tuned, str(len(drawn)), *shares, str(empty), lead


def points(by_prompt: Sequence[Sequence[float]]) -> str:
    """Return the mean of paired differences with its 95 % interval, by Student's t of the prompts' means: what is drawn
    from one prompt is alike, and it is other prompts that another search would have."""
    means = [float(np.mean(differences)) for differences in by_prompt]
    mean, half = float(np.mean(means)), t_95(len(means) - 1) * float(np.std(means, ddof=1)) / len(means) ** 0.5
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def t_95(degrees: int) -> float:
    """Return Student's quantile at 0.975, by Abramowitz and Stegun's 26.7.5; 0.3 % off for 4 degrees, less for more."""
    z = Z_95
    terms = z**3 + z, 5 * z**5 + 16 * z**3 + 3 * z, 3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z
    divisors = 4 * degrees, 96 * degrees**2, 384 * degrees**3
    return z + sum(term / divisor for term, divisor in zip(terms, divisors, strict=True))


def _place(row: Row) -> tuple[str, str]:
    """Return which completion of which prompt this is: the same noise at all rates."""
    return row["prompt"], row["sample"]


def _weighted(values: Sequence[tuple[str, str]]) -> str:
    """Return a mean, the second of each being how much the first counts."""
    return f"{sum(float(value) * int(count) for value, count in values) / sum(int(count) for _, count in values):.2f}"
