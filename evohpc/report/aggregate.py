"""Several runs in one comparison: `evohpc aggregate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evohpc.errors import ConfigError, RunFolderError
from evohpc.files import write_atomic
from evohpc.report import comparison, page
from evohpc.report.missing import explain_missing
from evohpc.report.runs import Run, read_all
from evohpc.report.terminal import of_all

if TYPE_CHECKING:
    import pandas

SCRIPTS = ("dom.js", "charts.js", "compare.js")
FORMATS = (".html", ".csv", ".jsonl", ".parquet", ".tex")


@dataclass(frozen=True)
class Aggregate:
    """What several runs come to."""

    runs: list[dict[str, Any]]
    """See `comparison.run_rows`."""
    groups: list[dict[str, Any]]
    """See `comparison.group_rows`."""
    pairs: list[dict[str, Any]]
    """See `comparison.pair_rows`."""
    broken: list[tuple[Path, str]]
    """What could not be read, and why."""
    by: tuple[str, ...]
    target: float | None
    evaluations: list[comparison.Curve]
    hours: list[comparison.Curve]

    @property
    def shortest(self) -> comparison.Curve | None:
        """The unfinished run that keeps all others from being compared further; None if it is no such run."""
        least = min(self.evaluations, key=lambda curve: curve.end)
        return None if least.run.is_over or len(self.evaluations) < 2 else least

    @property
    def mixed(self) -> str:
        """A sentence if runs of different tasks are compared; '' if they are not, or were taken apart."""
        tasks = sorted({curve.run.task for curve in self.evaluations if curve.run.task})
        if len(tasks) < 2 or "task" in self.by:
            return ""
        return f"these runs are of different tasks ({', '.join(tasks)}): their fitness cannot be compared"


def aggregate(paths: Sequence[Path], by: Sequence[str] = (), target: float | None = None) -> Aggregate:
    """Compare runs.

    Args:
        paths: run folders, or snapshots alone.
        by: keys of the config whose values make the groups, e.g. 'search.variant'.
        target: the fitness to which the cost is measured.

    Raises:
        RunFolderError: none of them can be read, or one is there twice.
        ConfigError: a config has no such key.
    """
    found, broken = read_all(paths)
    if not found:
        raise RunFolderError(f"none of these runs can be read; the first: {broken[0][1]}")
    return _compare(found, broken, tuple(by), target)


def _compare(
    found: Sequence[Run], broken: list[tuple[Path, str]], by: tuple[str, ...], target: float | None
) -> Aggregate:
    names = [comparison.group_of(run, by) for run in found]
    evaluations = [comparison.by_evaluations(run, name) for run, name in zip(found, names, strict=True)]
    hours = [comparison.by_hours(run, name) for run, name in zip(found, names, strict=True)]
    runs = list(comparison.run_rows(evaluations, hours, target))
    return Aggregate(
        runs=runs,
        groups=list(comparison.group_rows(runs, target)),
        pairs=list(comparison.pair_rows(runs)),
        broken=broken,
        by=by,
        target=target,
        evaluations=evaluations,
        hours=hours,
    )


def write(found: Aggregate, file: Path) -> None:
    """Write a comparison; the file's suffix says how: .html for all of it, .tex the groups, the others the runs.

    Raises:
        ConfigError: no such format, or a package is missing that it needs.
        StorageError: the file system refused.
    """
    if file.suffix not in FORMATS:
        raise ConfigError(f"{file}: cannot write {file.suffix or 'a file without a suffix'}; take {', '.join(FORMATS)}")
    with explain_missing():
        write_atomic(file, _content(found, file.suffix))


def _content(found: Aggregate, suffix: str) -> bytes | str:
    if suffix == ".html":
        return html(found)
    import pandas

    if suffix == ".tex":
        return latex(found)
    table = pandas.DataFrame(found.runs)
    if suffix == ".csv":
        return str(table.to_csv(index=False))
    if suffix == ".jsonl":
        return str(table.to_json(orient="records", lines=True))
    import pyarrow  # noqa: F401  # for pandas says of a missing one more than the next step

    return bytes(table.to_parquet(index=False))


def latex(found: Aggregate) -> str:
    """Return the groups as a LaTeX table for booktabs: means with their intervals."""
    import pandas

    rows = [
        {
            "Group": row["group"],
            "Runs": str(row["runs"]),
            "Best fitness": _cell(row, "best_fitness"),
            "at equal evaluations": _cell(row, "best_at_equal_evaluations"),
            "at equal hours": _cell(row, "best_at_equal_hours"),
        }
        for row in found.groups
    ]
    table: pandas.DataFrame = pandas.DataFrame(rows)
    style = table.style.hide(axis="index").format(escape="latex", subset=["Group"])
    return str(style.to_latex(hrules=True, column_format="lrrrr"))


def _cell(row: dict[str, Any], name: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    known = f"${value:.4g}$" if value is not None else "--"
    return known + ("" if low is None else f" [${low:.4g}$, ${high:.4g}$]") + of_all(row[f"{name}_runs"], row["runs"])


def html(found: Aggregate) -> str:
    """Return the comparison as one HTML file."""
    from evohpc.report.figures import compare

    label = "evaluation time, hours (wall clock, summed over candidates)"
    figures = {
        "progress_evaluations": compare.progress(
            "progress_evaluations", "children evaluated", comparison.bands(found.evaluations), found.target
        ),
        "progress_hours": compare.progress("progress_hours", label, comparison.bands(found.hours), found.target),
        "reached": compare.reached(found.runs),
    }
    unfinished = sum(not row["is_over"] for row in found.runs)
    data = {
        "figures": page.embedded(figures),
        **{"runs": found.runs, "groups": found.groups, "pairs": found.pairs, "target": found.target},
        "broken": [[str(path), reason] for path, reason in found.broken],
        "subtitle": f"{len(found.runs)} runs ({unfinished} unfinished), grouped by {', '.join(found.by) or 'nothing'}; "
        f"95 % bootstrap intervals of the mean, too narrow for fewer than about ten runs"
        f"{'; ' if found.mixed else ''}{found.mixed}",
        "footer": f"Made by evohpc aggregate at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
    }
    return page.render(f"evohpc: comparison of {len(found.runs)} runs", "compare.html", SCRIPTS, data)
