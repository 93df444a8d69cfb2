"""Runs as pandas tables: `evohpc.load`. What each column holds is in docs/report.md, which a test compares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evohpc.messages import SEED_ROUND, Status
from evohpc.report import tables
from evohpc.report.missing import explain_missing
from evohpc.report.rounds import evaluation_hours, fitness, fittest, late_counts, round_rows
from evohpc.report.runs import Run, read, told_apart

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Tables:
    """All that several runs found, as pandas tables; a row belongs to the run that its column `run` names."""

    runs: pandas.DataFrame
    """One row a run, its config as columns `config.*`."""
    rounds: pandas.DataFrame
    """One row a round; the seeds' is -1."""
    candidates: pandas.DataFrame
    """One row a candidate, with the result that counts for it."""
    results: pandas.DataFrame
    """One row an attempt to evaluate a candidate, machine faults included."""
    lineage: pandas.DataFrame
    """One row a parent of a child."""
    curves: pandas.DataFrame
    """One row a point of a training; none unless `load` was asked for them."""


def load(*paths: Path | str, curves: bool = False) -> Tables:
    """Read runs into tables.

    Args:
        paths: run folders, or snapshots alone (RUN/snapshots/search.db).
        curves: read those too, which lie in the result files of a run folder: about a second for 3,000 trainings.

    Raises:
        RunFolderError: one of them is neither, its search has not begun, or the same search is there twice.
        ConfigError: pandas is not installed.
    """
    return tabulate(told_apart([read(Path(path)) for path in paths]), curves=curves)


def tabulate(runs: Sequence[Run], *, curves: bool = False) -> Tables:
    """Return tables of runs that were read; see `load`."""
    with explain_missing():
        import pandas

    def frame(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> pandas.DataFrame:
        made = pandas.DataFrame(list(rows))
        missing = {column: pandas.Series(dtype=object) for column in columns if column not in made}
        made = made.assign(**missing)
        return made[[*columns, *(column for column in made if column not in columns)]]

    return Tables(
        runs=frame(map(_run_row, runs), RUN_COLUMNS),
        rounds=frame((row for run in runs for row in round_rows(run)), ROUND_COLUMNS),
        candidates=_typed(frame(_candidate_rows(runs), CANDIDATE_COLUMNS)),
        results=_typed(frame(_result_rows(runs), RESULT_COLUMNS)),
        lineage=frame((row for run in runs for row in _lineage_rows(run)), LINEAGE_COLUMNS),
        curves=pandas.DataFrame(list(_points(runs)) if curves else [], columns=list(CURVE_COLUMNS)),
    )


RUN_COLUMNS = (
    *("run", "path", "task", "variant", "seed", "is_done", "stopped_by", "rounds", "children", "evaluated"),
    *("late", "late_entered"),
    *("best", "best_fitness", "evaluation_hours", "evohpc", "git_commit", "created_at"),
)
ROUND_COLUMNS = (
    *("run", "round", "is_closed", "children", *(name.replace(" ", "_") for name in tables.OUTCOMES)),
    *("late", "late_entered"),
    *("valid_novel", "valid_novel_low", "valid_novel_high", "best", "best_fitness", "best_so_far", "evaluation_hours"),
)
CANDIDATE_COLUMNS = (
    *("run", "id", "round", "prompt", "sample", "parents", "temperature", "tokens", "status", "outcome", "detail"),
    *("attempt", "num_params", "error", "fitness", "counts", "late_until", "isolation", "host", "finished_at"),
    *("code_hash", "source_sha256", "source"),
)
RESULT_COLUMNS = (
    *("run", "id", "attempt", "rung", "status", "detail", "num_params", "error", "fitness"),
    *("isolation", "host", "finished_at", "source_sha256"),
)
LINEAGE_COLUMNS = ("run", "child", "parent", "place")
CURVE_COLUMNS = ("run", "id", "step", "error")

GROUPS = ("metrics", "seconds", "versions")
"""Mappings of a result that become columns, e.g. `seconds.train`."""


def flat(mapping: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a nested config's values with their keys, e.g. ('search.variant', 'full')."""
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _run_row(run: Run) -> dict[str, Any]:
    best = fittest(run, run.entries)
    search = run.config.get("search", {})
    return {
        **{"run": run.name, "path": str(run.path), "task": run.config.get("task")},
        **{"variant": search.get("variant"), "seed": search.get("seed"), "is_done": run.is_done},
        **{"stopped_by": run.early_end.key if run.early_end else None, "rounds": run.rounds},
        "children": sum(entry.candidate.round != SEED_ROUND for entry in run.entries),
        "evaluated": sum(entry.result is not None for entry in run.entries),
        **late_counts(run),
        "best": best.candidate.id if best else None,
        "best_fitness": fitness(best) if best else None,
        "evaluation_hours": evaluation_hours(run, run.entries),
        **{name: run.provenance.get(name) for name in ("evohpc", "git_commit", "created_at")},
        **{f"config.{key}": str(value) if isinstance(value, list | dict) else value for key, value in flat(run.config)},
    }


def _candidate_rows(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    for run in runs:
        for entry in run.entries:
            row = {"run": run.name, **tables.row(entry), "outcome": tables.outcome(entry.candidate.status)}
            row["source_sha256"] = entry.result.source_sha256 if entry.result else None
            yield {**row, "counts": run.counts(entry), "late_until": run.late_until.get(entry.id)}


def _result_rows(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    for run in runs:
        passed: Counter[str] = Counter()
        for result in run.attempts:
            row = {**asdict(result), "rung": passed[result.candidate_id]}
            passed[result.candidate_id] += result.status is Status.TRAINED
            groups = {f"{group}.{name}": value for group in GROUPS for name, value in row.pop(group).items()}
            yield {"run": run.name, "id": row.pop("candidate_id"), **row, **groups}


def _lineage_rows(run: Run) -> Iterator[dict[str, Any]]:
    for entry in run.entries:
        for place, parent in enumerate(entry.candidate.parents):
            yield {"run": run.name, "child": entry.candidate.id, "parent": parent, "place": place}


def _points(runs: Sequence[Run]) -> Iterator[tuple[str, str, float, float]]:
    for run in runs:
        for place, curve in run.curves.items():
            id = run.entries[place].id
            yield from ((run.name, id, step, error) for step, error in curve)


def _typed(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Give columns of texts and times their types; a category is a tenth of the memory."""
    import pandas

    frame["finished_at"] = pandas.to_datetime(frame["finished_at"].replace("", None), utc=True)
    frame["status"] = pandas.Categorical(frame["status"].map(str), categories=[str(status) for status in Status])
    for column in ("num_params", "attempt", "late_until"):
        if column in frame:
            frame[column] = frame[column].astype("Int64")
    for column in ("error", "fitness"):
        frame[column] = frame[column].astype("float64")
    return frame
