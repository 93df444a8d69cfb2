"""Writes the tables of docs/results/*.md from the CSV files beside them: `python docs/results/tables.py`.

A page has a comment `<!-- searches: FOLDER -->` or `<!-- verified: FILE -->` where a table belongs. With `--check`
nothing is written, and it fails if a table is not what its files say. Needs nothing but evohpc's own intervals.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from evohpc.report.intervals import wilson

HERE = Path(__file__).parent
STRICT = 0.2
"""A stricter bound on the error than alpha, beside which small and weak networks do not count."""
_MARK = re.compile(r"(<!-- (searches|verified): (\S+) -->\n)(?:\|.*\n)*")

Row = dict[str, str]


def searches(folder: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row a search: shares of its children, and its fittest."""
    yield "search", "children", "trained", "failed", "duplicate", "refused", "fittest", f"fittest, error < {STRICT}"
    for path in sorted(folder.glob("*-*.csv")):
        rows = read(path)
        children = [row for row in rows if row["round"] != "-1"]
        outcomes = Counter(row["outcome"] for row in children)
        shares = [_share(outcomes[name], len(children)) for name in ("trained", "failed", "duplicate", "refused")]
        counted = [row for row in rows if row["counts"] == "True"]
        strict = [row for row in counted if float(row["error"]) < STRICT]
        yield path.stem, str(len(children)), *shares, _fittest(counted), _fittest(strict)


def verified(path: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row a finalist: what it reached with several fresh seeds, mean and standard deviation."""
    yield "finalist", "parameters", "fitness in the search", "fitness", "worst to best", "validation", "test", "trained"
    for row in read(path):
        yield (
            row["id"],
            f"{int(row['num_params']):,}",
            f"{float(row['search_fitness']):.4g}",
            f"{float(row['fitness']):.1f} ± {float(row['fitness_sd']):.1f}",
            f"{float(row['fitness_min']):.1f} to {float(row['fitness_max']):.1f}",
            f"{100 * (1 - float(row['error'])):.1f} ± {100 * float(row['error_sd']):.1f} %",
            f"{100 * float(row['test_accuracy']):.1f} ± {100 * float(row['test_accuracy_sd']):.1f} %",
            f"{row['trained']} of {row['seeds']}",
        )


def read(path: Path) -> list[Row]:
    """Return the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _share(count: int, total: int) -> str:
    low, high = wilson(count, total)
    return f"{count} ({100 * count / total:.0f} %, {100 * low:.0f} to {100 * high:.0f})"


def _fittest(rows: Sequence[Row]) -> str:
    if not rows:
        return "none"
    best = max(rows, key=lambda row: float(row["fitness"]))
    accuracy = 100 * (1 - float(best["error"]))
    return (
        f"{float(best['fitness']):.4g}: {int(float(best['num_params'])):,} parameters, {accuracy:.1f} % ({best['id']})"
    )


MAKERS: dict[str, Callable[[Path], Iterator[Sequence[str]]]] = {"searches": searches, "verified": verified}


def with_tables(text: str) -> str:
    """Return a page with its tables as their files say."""

    def table(match: re.Match[str]) -> str:
        header, *rows = MAKERS[match[2]](HERE / match[3])
        lines = [header, ["---"] * len(header), *rows]
        return match[1] + "".join(f"| {' | '.join(line)} |\n" for line in lines)

    return _MARK.sub(table, text)


def main() -> None:
    stale = []
    for page in sorted(HERE.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (made := with_tables(text)) != text:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(made, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"not what the files say: {', '.join(stale)}; run python docs/results/tables.py")


if __name__ == "__main__":
    main()
