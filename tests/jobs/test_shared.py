"""A runner that several rounds share is asked about all of them, whichever asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evohpc.jobs.shared import SharedRunner
from evohpc.messages import Attempt, EvaluationJob, TaskReport, TaskState


class Recorder:
    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.asked: list[set[str]] = []

    def submit(self, job: EvaluationJob) -> None:
        self.submitted.append(job.name)

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        self.asked.append(set(sizes))
        return {name: [TaskReport(TaskState.RUNNING, reason=name)] * size for name, size in sizes.items()}


def test_it_is_asked_about_all_that_is_at_work() -> None:
    """Slurm is asked every few seconds only, and what a poll leaves out is taken for done."""
    recorder = Recorder()
    shared = SharedRunner(recorder)
    early, late = shared.of(0), shared.of(1)
    early.submit(EvaluationJob("a", 0, ((Attempt("x", 1),),)))
    late.submit(EvaluationJob("c", 1, ((Attempt("y", 1),),)))
    assert recorder.submitted == ["a", "c"]
    assert set(early.poll({"a": 1, "b": 2})) == {"a", "b"}
    assert late.poll({"c": 2}) == {"c": [TaskReport(TaskState.RUNNING, reason="c")] * 2}
    early.poll({"b": 2})
    late.poll({"c": 2})
    shared.forget(0)
    late.poll({"c": 2})
    assert recorder.asked == [{"a", "b"}, {"a", "b", "c"}, {"b", "c"}, {"b", "c"}, {"c"}]
