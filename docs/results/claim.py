"""The table of README: every arm with five searches, as they ended and as their winners were trained again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from searches import read, read_searches

from evohpc.report.intervals import permutation

SEEDS = 5
"""Of how many seeds an arm of the table must have a search."""
OURS = "extended"
NAMES = {
    OURS: "**the language model, with the extensions**",
    "extended_no_tuning": "the same, its soft prompt never tuned",
    "rescaling": "a rule that rescales constants",
    "scripted_extended": "rules that change lines and constants",
    "scripted_extended_rungs": "the same rules, with cheap trainings first",
    "evoprompting": "the paper's method exactly",
    "no_tuning": "the paper's method without tuning",
    "random_parents": "the paper's method with random parents",
    "iid": "the language model without evolution",
    "scripted": "the same rules, with the paper's selection",
    "scripted_iid": "a random search over the seeds, by the same rules",
}
"""How README names the arms. One that is not here is a fault: no arm is left out."""


def claim(folder: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row an arm, the fittest first: as its searches ended, its winners again, and for longer."""
    yield "five searches each", "fitness as they ended", "their fittest, five fresh seeds", "by the paper's recipe"
    columns = [_ended(folder), _again(folder / "winners.csv"), _again(folder / "winners_8000.csv")]
    ended = columns[0]
    for arm in sorted((arm for arm in ended if len(ended[arm]) == SEEDS), key=lambda arm: -fmean(ended[arm])):
        yield NAMES[arm], *(_cell(column, arm) for column in columns)


def _ended(folder: Path) -> dict[str, list[float]]:
    found = defaultdict(list)
    for search in read_searches(folder):
        found[search.arm].append(search.best())
    return found


def _again(path: Path) -> dict[str, list[float]]:
    found = defaultdict(list)
    for row in read(path):
        found[row["id"].partition("/")[0].rpartition("-")[0]].append(float(row["fitness"]))
    return found


def _cell(column: Mapping[str, Sequence[float]], arm: str) -> str:
    """Return the mean of an arm, and p of the difference from ours; nothing where not all its searches are there."""
    values = column.get(arm, ())
    if len(values) < SEEDS:
        return ""
    mean = f"{fmean(values):.0f}"
    return mean if arm == OURS else f"{mean}, p {permutation(column[OURS], values):.3f}"
