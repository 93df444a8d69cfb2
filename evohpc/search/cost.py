"""What a search costs at most, before it begins; and about what, once some of its candidates were trained. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from evohpc.config.search import Config
from evohpc.config.site import JobSection, Site
from evohpc.evolution.population import Budget

_GPU_OPTIONS = ("gres", "gpus-per-node", "gpus-per-task", "gpus")
_COPIES_OF_A_PROGRAM = 6
"""Its file, its completion, its row in the database, in two snapshots while one is made, and in the archive."""
_BESIDE_PROGRAM = 8192
"""Bytes of a candidate's result, of its row, and of its part of a prompt; several times what they have."""
_FILES_OF_A_CHILD = 5
"""While its round is open: program, result, log, and two of its array task."""
_FILES_OF_A_ROUND, _FILES_OF_A_RUN = 12, 40


@dataclass(frozen=True, slots=True)
class Cost:
    """Upper bounds; what is tried again after machine faults comes on top."""

    evaluations: int
    """Trainings: of the seeds, and of each child at each of its rungs, and its repeats."""
    evaluation_hours: float
    """Wall hours of all of them, one after the other."""
    threads: int
    """Cores of each."""
    gpus: float
    """Of each: less than one where several share one."""
    lm_jobs: int
    """Jobs of the language model's own; 0 where it runs in the driver's."""
    lm_hours: float
    """Wall hours of all of them."""
    lm_cpus: int
    lm_gpus: int
    disk_bytes: int
    """Of the run folder, beside what tuning leaves in each round."""
    files: int
    """In the run folder at a time."""

    @property
    def cpu_hours(self) -> float:
        """Of evaluations and the language model's jobs; the driver's core comes on top."""
        return self.evaluation_hours * self.threads + self.lm_hours * self.lm_cpus

    @property
    def gpu_hours(self) -> float:
        """Of evaluations and the language model's jobs."""
        return self.evaluation_hours * self.gpus + self.lm_hours * self.lm_gpus


def bound(config: Config, seeds: int, site: Site | None = None) -> Cost:
    """Return what a search costs at most.

    Args:
        seeds: number of seed programs.
        site: where it runs as Slurm jobs; None for this machine.
    """
    budget, stop, evaluation = Budget.of(config.search), config.search.stop, config.evaluation
    children = budget.rounds * budget.per_round
    trained = children if stop.evaluations is None else min(children, stop.evaluations)
    evaluations = seeds + trained * (1 + len(evaluation.rungs) + evaluation.repeats)
    hours = evaluations * evaluation.time_limit_s / 3600
    jobs = site.lm if site is not None and config.lm.needs_a_model else None
    program = _COPIES_OF_A_PROGRAM * config.screening.max_source_bytes + _BESIDE_PROGRAM
    return Cost(
        evaluations=evaluations,
        evaluation_hours=hours if stop.compute_hours is None else min(hours, stop.compute_hours),
        threads=evaluation.threads,
        gpus=0 if site is None else _gpus(site.evaluation) / evaluation.candidates_at_once,
        lm_jobs=0 if jobs is None else budget.rounds,
        lm_hours=0 if jobs is None else budget.rounds * jobs.minutes / 60,
        lm_cpus=0 if jobs is None else jobs.cpus,
        lm_gpus=0 if jobs is None else _gpus(jobs),
        disk_bytes=(seeds + children) * program + evaluations * evaluation.log_kb * 1024,
        files=_FILES_OF_A_CHILD * max(seeds, budget.per_round) + _FILES_OF_A_ROUND * budget.rounds + _FILES_OF_A_RUN,
    )


def estimate(cost: Cost, seconds: float, evaluated: int, children: int, left: int) -> float | None:
    """Return about how many wall hours the evaluations of a search take in all; None before one is over.

    Args:
        seconds: wall seconds of all evaluations so far.
        evaluated: their number.
        children: candidates so far, those that were refused included, seeds too.
        left: children that are still to come.
    """
    if not evaluated or not children:
        return None
    hours = (seconds + left * evaluated / children * seconds / evaluated) / 3600
    return min(hours, max(cost.evaluation_hours, seconds / 3600))


def lines(cost: Cost) -> Iterator[tuple[str, str]]:
    """Yield (what, how much at most) for people."""
    whole = _hours(cost.evaluation_hours, cost.threads, cost.gpus)
    yield "evaluations", f"at most {cost.evaluations:,}, each on {_cores(cost.threads)}: {whole}"
    if cost.lm_jobs:
        whole = _hours(cost.lm_hours, cost.lm_cpus, cost.lm_gpus)
        each = f"{in_figures(cost.lm_hours / cost.lm_jobs)} h on {_cores(cost.lm_cpus)}"
        yield "language model", f"at most {each} in each of {cost.lm_jobs} rounds: {whole}"
    yield "run folder", f"at most {max(1, round(cost.disk_bytes / 1e6)):,} MB, and {cost.files:,} files at a time"


def in_figures(hours: float) -> str:
    """Return hours with as many figures as such an estimate deserves: '0.42', '8.3', '1,604'."""
    return f"{hours:,.0f}" if hours >= 9.95 else f"{hours:.2g}"


def _hours(hours: float, cores: int, gpus: float) -> str:
    return f"{in_figures(hours * cores)} CPU-hours" + (f", {in_figures(hours * gpus)} GPU-hours" if gpus else "")


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"


def _gpus(jobs: JobSection) -> int:
    """Return how many GPUs a job asks for, as far as its options tell: `gpu:a100:2`, `a100:2`, `2`."""
    given = jobs.sbatch_options({})
    counts = []
    for option in _GPU_OPTIONS:
        for entry in str(given.get(option, "")).split(","):
            name, *_ = entry.split(":")
            if entry and (option != "gres" or name in ("gpu", "gres/gpu")):
                found = re.search(r"(?:^|:)(\d+)(?:\(|$)", entry)
                counts.append(int(found[1]) if found else 1)
    return max(counts, default=0)
