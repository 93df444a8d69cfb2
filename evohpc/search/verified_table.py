"""The table of a verification: what became of each finalist with each seed. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evohpc.evolution import population
from evohpc.messages import Status
from evohpc.store.rows import Entry

TEST_METRIC = "test_accuracy"
"""What a task calls its quality on samples that are never selected on, where it measures it."""


@dataclass(frozen=True, slots=True)
class Finalist:
    """A candidate of the search, with what the search says of it."""

    id: str
    num_params: int
    error: float
    fitness: float


@dataclass(frozen=True, slots=True)
class Row:
    """One finalist: means and sample standard deviations over the seeds with which it trained."""

    id: str
    num_params: int
    search_error: float
    """What the search measured, and selected it by."""
    search_fitness: float
    error: float | None
    """On validation samples, as in the search; None where no seed trained."""
    error_sd: float | None
    """As all of them: None for fewer than two trainings."""
    fitness: float | None
    fitness_sd: float | None
    fitness_min: float | None
    fitness_max: float | None
    test_accuracy: float | None
    """None where the task measures none."""
    test_accuracy_sd: float | None
    trained: int
    """With how many seeds."""
    seeds: int
    failures: str
    """Seeds that failed, and why, e.g. 'seed 3: timeout: not done after ...'; a line each."""


def table(finalists: Iterable[Finalist], trainings: Sequence[Mapping[str, Entry]]) -> list[Row]:
    """Return a row for each finalist: the highest mean fitness first, equals by id, those that never trained last.

    Args:
        trainings: of each seed, the entries by finalist; without those that are not there yet.
    """
    rows = (_row(finalist, [done.get(finalist.id) for done in trainings]) for finalist in finalists)
    return population.by_fitness(rows)


def _row(finalist: Finalist, entries: Sequence[Entry | None]) -> Row:
    """Return the row of a finalist.

    Args:
        entries: of each seed, in order.
    """
    done = [entry for entry in entries if entry is not None]
    results = [entry.result for entry in done if entry.candidate.status is Status.TRAINED and entry.result is not None]
    fitness = [result.fitness for result in results if result.fitness is not None]
    tested = [result.metrics[TEST_METRIC] for result in results if TEST_METRIC in result.metrics]
    return Row(
        finalist.id,
        max((result.num_params or 0 for result in results), default=finalist.num_params),
        finalist.error,
        finalist.fitness,
        *_mean_and_sd([result.error for result in results if result.error is not None]),
        *_mean_and_sd(fitness),
        min(fitness, default=None),
        max(fitness, default=None),
        *_mean_and_sd(tested),
        trained=len(results),
        seeds=len(entries),
        failures="\n".join(_failures(entries)),
    )


def _failures(entries: Iterable[Entry | None]) -> Iterable[str]:
    for seed, entry in enumerate(entries):
        if entry is not None and entry.candidate.status not in (Status.TRAINED, Status.PENDING):
            yield f"seed {seed}: {entry.candidate.status}: {entry.candidate.detail}"


def _mean_and_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    return (statistics.mean(values) if values else None), (statistics.stdev(values) if len(values) > 1 else None)
