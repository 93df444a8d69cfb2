"""The JobRunner seam.

A runner's report is a hint: only a valid result file completes a candidate. From the report the driver learns that a
task has ended, so that a result which is still missing after a grace period counts as lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from evohpc.messages import EvaluationJob, TaskReport


class ArrayRunner(Protocol):
    """Hands job arrays to something that runs them. All methods are idempotent."""

    def submit(self, job: EvaluationJob) -> None:
        """Have all tasks of a job evaluated. A job whose name this runner, or the scheduler behind it, already knows is
        adopted and not submitted again.

        The file of the job (`RoundDir.job`) exists before the call: the tasks read it.

        Raises:
            EvaluationError: the scheduler refuses such a job for good; says what to correct.
            StorageError: the file system refused a file that the job needs.
        """

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        """Return the state of each task, with at most one request to the scheduler.

        Args:
            sizes: name of a job -> number of its tasks.

        Returns:
            name of a job -> report of each of its tasks. Where nobody knows the name (the job was never accepted, or
            this is a new process), all tasks are ENDED.

        Raises:
            EvaluationError: the scheduler refuses a job for good, or this host cannot evaluate candidates as the
                config demands.
            StorageError: the file system refused a file that a job needs.
        """


class JobRunner(ArrayRunner, Protocol):
    """One that this process has, with what it holds."""

    def cancel(self, names: Collection[str]) -> None:
        """End the tasks of these jobs that run or wait.

        Raises:
            EvaluationError: the scheduler does not answer.
        """

    def close(self) -> None:
        """Release this process's own resources. Local evaluations end with it; a scheduler's jobs go on."""
