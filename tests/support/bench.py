"""A job runner with a run to evaluate."""

from __future__ import annotations

from collections.abc import Sequence

from evohpc import envelopes
from evohpc.config.site import SchedulerSection, Site
from evohpc.files import write_atomic
from evohpc.jobs.base import JobRunner
from evohpc.messages import Attempt, EvaluationJob, Result, TaskReport, TaskState
from evohpc.run_folder import RunDir
from support.cluster.daemons import wait_until
from support.evaluating import HONEST, RUN_ID

SITE = Site(scheduler=SchedulerSection(poll_s=0.3, submit_every_s=0, settle_s=600))


SLOW = HONEST.replace(
    "        super().__init__()\n", "        super().__init__()\n        import time; time.sleep(60)\n"
)


class Bench:
    """A run with a runner."""

    def __init__(self, run: RunDir, runner: JobRunner) -> None:
        self.run, self.runner = run, runner
        self.count = 0

    def job(self, *tasks: Sequence[str], slow: bool = False) -> EvaluationJob:
        """Write candidates and a job that evaluates them, one inner sequence per array task."""
        self.count += 1
        folder = self.run.round(0)
        for candidate in (id for task in tasks for id in task):
            write_atomic(folder.candidate(candidate), SLOW if slow else HONEST)
        attempts = tuple(tuple(Attempt(id, 1) for id in task) for task in tasks)
        job = EvaluationJob(f"{RUN_ID}-000-{self.count:02d}", 0, attempts)
        write_atomic(folder.job(job.name), envelopes.seal(RUN_ID, 1, job))
        return job

    def submit(self, job: EvaluationJob) -> None:
        self.runner.submit(job)

    def reports(self, job: EvaluationJob) -> Sequence[TaskReport]:
        return self.runner.poll({job.name: len(job.tasks)})[job.name]

    def wait(self, job: EvaluationJob, *states: TaskState) -> Sequence[TaskReport]:
        """Wait until all tasks of a job are in one of these states."""
        wait_until(lambda: all(report.state in states for report in self.reports(job)), f"{job.name}: {states}", 250)
        return self.reports(job)

    def results(self, job: EvaluationJob) -> dict[str, Result]:
        paths = [self.run.round(0).result(a.candidate_id, a.attempt) for task in job.tasks for a in task]
        found = [envelopes.unseal(path.read_bytes(), RUN_ID, Result) for path in paths if path.exists()]
        return {result.candidate_id: result for result in found}
