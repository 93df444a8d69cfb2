"""Whole runs in memory, for what compares them: run folders, and snapshots that have lost theirs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from evohpc.config.task_name import TaskName
from evohpc.errors import EvohpcError, RunFolderError, similar_run
from evohpc.evaluation.curve import Curve
from evohpc.evolution.entry import NUM_PARAMS
from evohpc.evolution.population import Budget
from evohpc.evolution.stopping import EarlyEnd
from evohpc.lm_job import times
from evohpc.lm_job.times import Span
from evohpc.messages import SEED_ROUND, Result
from evohpc.report.curves import curves
from evohpc.report.lateness import late_until
from evohpc.report.reader import Reading
from evohpc.run_folder import RunDir, read_provenance
from evohpc.store.rows import Entry, FaultyNode
from evohpc.store.store import Store


@dataclass(frozen=True)
class Run:
    """All that a snapshot holds, with the config and the provenance beside it if they are there."""

    name: str
    """The run id; of a snapshot alone, the name of its file."""
    path: Path
    entries: Sequence[Entry]
    """Seeds first, in order of round and id."""
    attempts: Sequence[Result]
    closed_rounds: frozenset[int]
    metric: str
    """Key of the quality in `Result.metrics`; '' if there is none."""
    size_name: str = NUM_PARAMS
    """What prompts call the size of a program; of a snapshot alone, the usual name."""
    config: dict[str, Any] = field(default_factory=dict)
    """Resolved, nested as in config.yaml; empty for a snapshot alone."""
    task: str = ""
    """Its name; of a task of the user's the name of the class and a digest of its file. '' for a snapshot alone."""
    provenance: dict[str, Any] = field(default_factory=dict)
    rounds: int = 0
    """Of the config's budget; for a snapshot alone those that have begun."""
    early_end: EarlyEnd | None = None
    """Why it ended before its last round, if it did; not known of a snapshot alone."""
    lm_spans: Mapping[int, Sequence[Span]] = field(default_factory=dict)
    """What the language model did, by round; empty for a snapshot alone."""
    faulty_nodes: Sequence[FaultyNode] = ()
    """See `Reading.faulty_nodes`; not known of a snapshot alone."""
    late_until: Mapping[str, int] = field(default_factory=dict)
    """Of each candidate that was late (`search.close_at`), the first round that could know its outcome."""
    folder: Path | None = None
    """The run folder; None for a snapshot alone."""

    @property
    def is_done(self) -> bool:
        """All rounds are closed."""
        return {SEED_ROUND, *range(self.rounds)} <= self.closed_rounds

    @property
    def is_over(self) -> bool:
        """All rounds are closed, or a budget is spent."""
        return self.is_done or self.early_end is not None

    @property
    def error_below(self) -> float:
        """What the error of a candidate must be below to count among the best: alpha of Algorithm 3."""
        return float(self.config.get("search", {}).get("error_threshold", 1.0))

    @cached_property
    def hours(self) -> Mapping[str, float]:
        """Wall hours of the evaluations of each candidate, those at all its rungs; machine faults left out."""
        found: dict[str, float] = {}
        for result in self.attempts:
            if not result.status.is_machine_fault:
                hours = result.seconds.get("total", 0.0) / 3600
                found[result.candidate_id] = found.get(result.candidate_id, 0.0) + hours
        return found

    @cached_property
    def curves(self) -> Mapping[int, Curve]:
        """How errors fell in training, by place among the entries; empty for a snapshot alone."""
        return {} if self.folder is None else dict(curves(RunDir(self.folder), self.name, self.entries))

    @property
    def threads(self) -> int:
        """Cores that one evaluation has."""
        return int(self.config.get("evaluation", {}).get("threads", 1))

    @cached_property
    def _measured(self) -> frozenset[tuple[object, ...]]:
        """When, where and in what time which candidate was evaluated: no two searches have the same."""
        return frozenset(
            (result.candidate_id, result.attempt, result.host, result.finished_at, *result.seconds.items())
            for result in self.attempts
        )

    def is_same_search(self, other: Run) -> bool:
        """Say whether another run is this one, or an earlier or later copy of it. Of a snapshot alone, which has no id,
        the results tell."""
        if self.folder is not None and other.folder is not None:
            return self.name == other.name
        fewer, more = sorted((self._measured, other._measured), key=len)
        return self.path.resolve() == other.path.resolve() or (bool(fewer) and fewer <= more)

    def counts(self, entry: Entry) -> bool:
        """Say whether a candidate can be among the best: it was trained, and its error is below alpha."""
        result = entry.result
        if result is None or result.fitness is None:
            return False
        return result.error is not None and result.error < self.error_below

    def entered_late(self, entry: Entry) -> bool:
        """Say whether a candidate was late and then entered the pool of a later round."""
        return entry.id in self.late_until and self.counts(entry)


def read(path: Path) -> Run:
    """Read a run folder, or a snapshot alone.

    Raises:
        RunFolderError: it is neither, or the search has not begun.
    """
    if path.is_file():
        return _read_snapshot(path)
    if not path.exists():
        raise RunFolderError(
            f"{path}: no such run folder; {similar_run(path)}name one, or a snapshot: RUN/snapshots/search.db"
        )
    return _read_folder(path)


def read_all(paths: Iterable[Path]) -> tuple[list[Run], list[tuple[Path, str]]]:
    """Read what can be read of several runs.

    Returns:
        the runs, and what could not be read with the reason.

    Raises:
        RunFolderError: the same search is there twice, be it as a copy: its candidates would count twice.
    """
    found: list[Run] = []
    broken: list[tuple[Path, str]] = []
    for path in paths:
        try:
            found.append(read(path))
        except (EvohpcError, OSError) as error:
            broken.append((path, str(error)))
    return told_apart(found), broken


def told_apart(runs: Sequence[Run]) -> list[Run]:
    """Return runs under names that no two of them have: of snapshots alone with the same file name, the paths.

    Raises:
        RunFolderError: the same search is there twice.
    """
    for first, second in combinations(runs, 2):
        if second.is_same_search(first):
            raise RunFolderError(f"{second.path} and {first.path} are the same search; leave one of them away")
    taken = Counter(run.name for run in runs)
    return [
        replace(run, name=str(run.path.resolve())) if run.folder is None and taken[run.name] > 1 else run
        for run in runs
    ]


def _read_folder(path: Path) -> Run:
    with Reading(path) as reading:
        return Run(
            name=reading.run_id,
            path=path,
            folder=path,
            early_end=reading.early_end,
            lm_spans=_lm_spans(RunDir(path), reading.store),
            faulty_nodes=reading.faulty_nodes(),
            config=reading.config.model_dump(mode="json"),
            task=_task(reading.config.task, RunDir(path)),
            provenance=read_provenance(RunDir(path)),
            metric=reading.task.metric,
            size_name=reading.task.size_name,
            rounds=Budget.of(reading.config.search).rounds,
            **_rows(reading.store),
        )


def _task(name: TaskName, run: RunDir) -> str:
    if name.file is None:
        return name.name
    return f"{name.name}-{hashlib.sha256(run.task_file.read_bytes()).hexdigest()[:8]}"


def _read_snapshot(path: Path) -> Run:
    """Read a snapshot; one that is where the driver put it tells of its run folder."""
    folder = path.absolute().parent.parent
    if RunDir(folder).snapshot == path.absolute() and RunDir(folder).provenance.is_file():
        return _read_folder(folder)
    store = Store.snapshot_reader(path)
    try:
        rows, rounds = _rows(store), (store.last_round() or 0) + 1
    finally:
        store.close()
    metrics = {name for entry in rows["entries"] if entry.result for name in entry.result.metrics}
    name = str(path.resolve()) if path.name == RunDir(path).snapshot.name else path.stem
    return Run(name=name, path=path, metric=min(metrics, default=""), rounds=rounds, **rows)


def _lm_spans(run: RunDir, store: Store) -> dict[int, list[Span]]:
    rounds = range((store.last_round() or 0) + 1)
    return {round: found for round in rounds if (found := times.spans(run.round(round)))}


def _rows(store: Store) -> dict[str, Any]:
    return {
        "entries": list(store.every()),
        "attempts": list(store.every_result()),
        "closed_rounds": frozenset(row["round"] for row in store.rows("closed_rounds")),
        "late_until": late_until(store),
    }
