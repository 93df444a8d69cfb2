"""What squeue and sacct print of array tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from evohpc.messages import TaskReport
from evohpc.slurm import states

_RANGE = re.compile(r"(\d{1,7})(?:-(\d{1,7})(?::([1-9]\d{0,6}))?)?")
"""Of array tasks (sbatch(1), --array)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One array task, as Slurm tells of it."""

    job_id: str
    """Of the whole array."""
    index: int
    """In the array; -1 is a row for all of its tasks."""
    name: str
    report: TaskReport
    cluster: str = ""
    """The one that was asked; '' is the local one."""
    is_completing: bool = False
    """Whether only its last processes are waited for, be it that it has ended or that Slurm starts it again."""


def in_queue(text: str, cluster: str) -> Iterator[Row]:
    """Yield what squeue printed of a cluster's jobs."""
    for job_id, index, name, state, node, reason in fields(text, 6):
        if job_id.isdecimal():
            for number in _indices(index) or [-1]:
                yield Row(job_id, number, name, states.report(state, reason, node), cluster, state == "COMPLETING")


def in_history(text: str) -> Iterator[Row]:
    """Yield what sacct printed; of the tasks of an array that never began it has one line."""
    for task, name, state, node in fields(text, 4):
        job_id, in_array, index = task.partition("_")
        if job_id.isdecimal():
            for number in _indices(index) if in_array else [-1]:
                yield Row(job_id, number, name, states.report(state, node=node))


def _indices(text: str) -> list[int]:
    """Return the array tasks that Slurm names: '7', and of those that never began '0-9', '[3-9%4]', '[2,4-8:2]'."""
    parts = text.strip("[]").partition("%")[0].split(",")
    found = [match.groups() for match in map(_RANGE.fullmatch, parts) if match]
    return [index for first, last, step in found for index in range(int(first), int(last or first) + 1, int(step or 1))]


def fields(text: str, count: int) -> Iterator[list[str]]:
    """Yield the fields of each line that has so many. The others are headings of clusters, or of jobs with a newline or
    a | in their name, which none of ours has."""
    rows = (line.split("|") for line in text.split("\n"))
    return (row for row in rows if len(row) == count)
