"""The JobRunner seam.

What a runner says is a hint. Only a valid result file completes a candidate (design: Slurm's word is a hint); a
runner only tells the driver that nothing runs any more, so that a missing result may be called lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from evohpc.messages import TaskReport


class JobRunner(Protocol):
    """Hands job arrays to something that runs them. All verbs are idempotent."""

    def submit(self, spec: Path, name: str, size: int) -> None:
        """Have array tasks 0..size-1 of the `EvaluationJob` in `spec` evaluated. A name that this runner, or the
        scheduler behind it, already knows is adopted and not submitted again."""

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        """Report on the arrays of these names and sizes, with at most one question to the scheduler. A name that
        nobody knows (it was never accepted, or this is a new process) reports all its tasks ENDED."""

    def cancel(self, names: Collection[str]) -> None:
        """End what still runs or waits of these arrays."""

    def close(self) -> None:
        """Release this process's own resources. Local evaluations end with it; a scheduler's jobs go on."""
