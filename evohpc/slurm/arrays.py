"""The Slurm job arrays that one EvaluationJob is split into: their files, and their states in Slurm's answers.

RUN/rounds/NNN/slurm/<name>/plan.json      how the job is split; written before the first sbatch
RUN/rounds/NNN/slurm/<name>/<k>/array.sh   what sbatch gets; exists only if sbatch was, or is about to be, called
RUN/rounds/NNN/slurm/<name>/<k>/job_id     sbatch's answer
RUN/rounds/NNN/slurm/<name>/<k>/claim      link to the id of the array that runs; made by its first task
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evohpc.errors import RunFolderError
from evohpc.files import read_json, write_atomic, write_once
from evohpc.messages import Status, TaskReport, TaskState
from evohpc.slurm.rows import Row
from evohpc.slurm.script import CLAIM

SCRIPT = "array.sh"
_CANCELLED = "cancelled"
_UNKNOWN = TaskReport(TaskState.ENDED, Status.LOST, "Slurm does not know its job any more")


@dataclass
class Array:
    """One Slurm job array; a single job is one of size 1."""

    name: str
    """Slurm's job name."""
    folder: Path
    first: int
    """Task of the EvaluationJob that is index 0 here."""
    size: int
    script: str = SCRIPT
    """Name of what sbatch gets, in the folder."""
    job_id: str = field(default="", init=False)
    """Of the array that does the work, '' if none is known."""
    doubtful_since: float | None = None
    """Since when it is not known whether Slurm accepted it: sbatch was called and its answer lost."""
    reports: list[TaskReport] = field(init=False)
    _missing_since: dict[int, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.reports = [TaskReport(TaskState.WAITING)] * self.size
        self.refresh()

    @property
    def was_handed_over(self) -> bool:
        """Whether sbatch may have been called."""
        return (self.folder / self.script).exists()

    @property
    def is_over(self) -> bool:
        """Whether all its tasks have ended."""
        return all(report.state is TaskState.ENDED for report in self.reports)

    @property
    def is_missing_tasks(self) -> bool:
        """Whether some of its tasks were not in Slurm's last answer."""
        return bool(self._missing_since)

    def refresh(self) -> None:
        """Find the job that does the work: the one with the claim, else the one that sbatch or squeue named."""
        claim, answer = self.folder / CLAIM, self.folder / "job_id"
        if claim.is_symlink():
            self.job_id = os.readlink(claim)
        elif answer.exists():
            self.job_id = answer.read_text()
        if self.job_id == _CANCELLED:
            self.end("cancelled")

    def accept(self, job_id: str) -> None:
        """Keep the id under which Slurm runs it."""
        self.job_id, self.doubtful_since = job_id, None
        write_atomic(self.folder / "job_id", job_id)

    def forget(self) -> None:
        """Record that sbatch was called and refused it."""
        (self.folder / self.script).unlink(missing_ok=True)

    def end(self, reason: str) -> None:
        """Mark all its tasks as ended."""
        ended = TaskReport(TaskState.ENDED, Status.LOST, reason)
        self.reports = [report if report.state is TaskState.ENDED else ended for report in self.reports]

    def record_queue(self, rows: Sequence[Row], now: float, settle_s: float) -> None:
        """Record what slurmctld answers about the array; it forgets tasks some time after their end.

        Args:
            settle_s: a task that is missing from the answers for so long has ended.
        """
        seen = dict(self._reports_of(rows))
        self.reports = [seen.get(index, report) for index, report in enumerate(self.reports)]
        missing = [i for i, report in enumerate(self.reports) if i not in seen and report.state is not TaskState.ENDED]
        self._missing_since = {index: self._missing_since.get(index, now) for index in missing}
        for index, since in self._missing_since.items():
            if now - since >= settle_s:
                self.reports[index] = _UNKNOWN

    def record_history(self, rows: Sequence[Row]) -> None:
        """Record how tasks that slurmctld forgot have ended."""
        for index, report in self._reports_of(rows):
            if index in self._missing_since:
                self.reports[index] = report
                del self._missing_since[index]

    def _reports_of(self, rows: Sequence[Row]) -> Iterator[tuple[int, TaskReport]]:
        for row in rows:
            indices = range(self.size) if row.index < 0 else [row.index]
            yield from ((index, row.report) for index in indices if index < self.size)


def split(folder: Path, name: str, size: int, largest: int) -> list[Array]:
    """Return the arrays of an EvaluationJob, in order of their tasks.

    If an earlier driver has split it, the split stays, but for arrays that are too large by now and that Slurm has
    never got: these are split again.

    Args:
        folder: RUN/rounds/NNN/slurm/<name>.
        largest: tasks in one array.

    Raises:
        RunFolderError: the earlier split cannot be read.
        StorageError: the file system refused.
    """
    plan = folder / "plan.json"
    if write_once(plan, json.dumps(_chunks(0, size, largest))):
        return _arrays(folder, name, _read(plan))
    earlier = _read(plan)
    chunks = _split_again(_arrays(folder, name, earlier), largest)
    if chunks != earlier:
        write_atomic(plan, json.dumps(chunks))
    return _arrays(folder, name, chunks)


def _split_again(arrays: Iterable[Array], largest: int) -> list[tuple[int, int]]:
    """Return the chunks of arrays, and those that are too large in pieces: the first in its place, the others at the
    end, so that all that Slurm knows keep their numbers."""
    kept, more = [], []
    for array in sorted(arrays, key=lambda array: int(array.folder.name)):
        is_known = array.was_handed_over or bool(array.job_id)
        first, *rest = _chunks(array.first, array.size, array.size if is_known else largest)
        kept.append(first)
        more += rest
    return kept + more


def _read(plan: Path) -> list[tuple[int, int]]:
    """Return the chunks that an earlier driver has written.

    Raises:
        RunFolderError: they cannot be read.
    """
    try:
        return [(first, count) for first, count in read_json(plan)]
    except (ValueError, TypeError) as error:
        raise RunFolderError(
            f"{plan}: damaged: {error}; when squeue shows no job called {plan.parent.name}, delete this folder"
        ) from None


def plan(folder: Path, name: str, size: int, largest: int) -> list[Array]:
    """Return the arrays that `split` makes of a new EvaluationJob; write nothing."""
    return _arrays(folder, name, _chunks(0, size, largest))


def _chunks(begin: int, size: int, largest: int) -> list[tuple[int, int]]:
    """Return (first task, number of tasks) of each array."""
    end = begin + size
    return [(first, min(largest, end - first)) for first in range(begin, end, largest)]


def _arrays(folder: Path, name: str, chunks: Sequence[tuple[int, int]]) -> list[Array]:
    names = [name] if len(chunks) == 1 else [f"{name}.{k}" for k in range(len(chunks))]
    made = [Array(names[k], folder / str(k), first, count) for k, (first, count) in enumerate(chunks)]
    return sorted(made, key=lambda array: array.first)


def fence_off(round: Path, name: str) -> None:
    """Claim the arrays of an EvaluationJob that no task has claimed yet: a task that starts now ends at once.

    Args:
        round: RUN/rounds/NNN.
    """
    for plan in round.glob(f"slurm/{name}/plan.json"):
        for k in range(len(_read(plan))):
            claim_for_nobody(plan.parent / str(k))


def claim_for_nobody(folder: Path) -> None:
    """Claim one array, unless it is claimed: if its job starts later, that ends at once."""
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / CLAIM).symlink_to(_CANCELLED)


def belongs(job_name: str, names: Collection[str]) -> bool:
    """Return whether a Slurm job is an array of one of these EvaluationJobs."""
    return job_name in names or job_name.rpartition(".")[0] in names
