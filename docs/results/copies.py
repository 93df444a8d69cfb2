"""The tables of duplicates.md: which trained children repeat earlier ones, and who would have been called a copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from searches import Row, Search, read, read_searches, share

RESULT = ("num_params", "error", "metrics.reported_loss", "metrics.test_accuracy")
"""What two trainings of one computation share to the last digit: a search trains all with the same seed."""
ALPHA = 0.5
"""Who has this error or a larger one is not selected."""
RULES = {
    "same result": "the same result (known only after the training)",
    "same_computation": "`same_computation`",
    "names of attributes": "the same but for names of attributes",
    "structure and size": "the same but for numbers, and as many parameters",
    "similarity": "similarity of 0.9 or more, numbers counted",
    "similarity without numbers": "similarity of 0.9 or more, numbers not counted",
}
"""The columns of duplicates.csv, as the page calls them."""


def results(folder: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row an arm: how many trained children had the result of an earlier candidate."""
    yield "arm", "searches", "trained children", "the same result as an earlier one"
    found = read_searches(folder)
    for arm in dict.fromkeys(search.arm for search in found):
        of_arm = [search for search in found if search.arm == arm]
        trained = sum(row["outcome"] == "trained" for search in of_arm for row in search.rows if row["round"] != "-1")
        yield arm, str(len(of_arm)), str(trained), share(sum(map(repeated, of_arm)), trained)


def repeated(search: Search) -> int:
    """Return how many trained children have the result of an earlier candidate."""
    trained = [row for row in search.rows if row["outcome"] == "trained"]
    return len(trained) - len({tuple(row[name] for name in RESULT) for row in trained})


def rules(path: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row a rule: whom it would have called a copy, and what was different after all."""
    yield (
        *("a child is a copy by", "copies among the trained children", "same result", "fitter than the original"),
        *("difference of fitness: median", "largest gain", "searches whose fittest child is a copy"),
    )
    rows = read(path)
    known = {(row["search"], row["id"]): row for row in rows}
    children = [row for row in rows if row["round"] != "-1"]
    for rule, name in RULES.items():
        copies = [row for row in children if row[rule]]
        gains = [gain(row, known[row["search"], row[rule]]) for row in copies]
        same = sum(is_same(row, known[row["search"], row[rule]]) for row in copies)
        lost = sum(bool(each[rule]) for each in fittest(children))
        fitter = sum(each > 0 for each in gains)
        yield (
            *(name, share(len(copies), len(children)), str(same), str(fitter)),
            *(
                f"{100 * median(map(abs, gains or [0.0])):.0f} %",
                f"{100 * max([0.0, *gains]):.0f} %",
                f"{lost} of {len(fittest(children))}",
            ),
        )


def gain(child: Row, original: Row) -> float:
    """Return by which share of the original's fitness, which is below 0, a child is fitter."""
    return (float(child["fitness"]) - float(original["fitness"])) / abs(float(original["fitness"]))


def is_same(child: Row, original: Row) -> bool:
    """Say whether a child has the result of another."""
    return (child["same result"] or child["id"]) == (original["same result"] or original["id"])


def fittest(children: Sequence[Row]) -> list[Row]:
    """Return the fittest child of each search that may be selected, the first of those that are equal."""
    found: dict[str, Row] = {}
    for row in children:
        best = found.get(row["search"])
        if float(row["error"]) < ALPHA and (best is None or float(row["fitness"]) > float(best["fitness"])):
            found[row["search"]] = row
    return list(found.values())
