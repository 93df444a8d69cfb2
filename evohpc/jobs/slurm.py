"""Runs job arrays on a Slurm cluster.

Whatever happens between this process and Slurm, the work of an array is done once. The name of a job and its split into
arrays are on disk before the call of sbatch. A driver that finds them there first asks Slurm for that name, and looks
for the claim that a running array leaves. If an answer of sbatch was lost, there may be two arrays with the same work:
the second finds the claim of the first, and ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.site import Site
from evohpc.errors import EvaluationError
from evohpc.files import write_atomic
from evohpc.jobs import array_script, array_task, side_by_side
from evohpc.jobs.array_script import ArrayShape
from evohpc.jobs.excluded_nodes import excluded_nodes, with_those_of_the_site
from evohpc.messages import EvaluationJob, TaskReport, TaskState
from evohpc.run_folder import RunDir
from evohpc.slurm import arrays, client, commands, nodes
from evohpc.slurm.arrays import Array
from evohpc.slurm.client import SlurmClient
from evohpc.slurm.commands import NoAnswer

log = logging.getLogger(__name__)

_QUEUED = (TaskState.WAITING, TaskState.HELD)


class SlurmRunner:
    """A `JobRunner` for a Slurm cluster. Its jobs outlive it."""

    def __init__(
        self,
        run: Path,
        site: Site,
        evaluation: EvaluationConfig,
        work: array_task.Work | None = None,
        clock: Callable[[], float] = time.monotonic,
        faulty: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """Make a runner for the run in `run`. It does not talk to Slurm yet.

        Args:
            work: what a task does, if not what the config says.
            faulty: returns the nodes to be excluded from arrays, those that matter most first.

        Raises:
            EvaluationError: Slurm cannot work in a folder of that name.
        """
        self._run, self._site, self._evaluation = client.check_folder(run), site, evaluation
        self._work, self._faulty = work or side_by_side.work_of(evaluation), faulty
        self._client = SlurmClient(site.scheduler, clock, site.evaluation.clusters)
        self._jobs: dict[str, EvaluationJob] = {}
        self._arrays: dict[str, list[Array]] = {}
        self._wanted: set[str] = set()
        self._largest = 0
        self._known_faulty: frozenset[str] = frozenset()
        self._excluded: dict[str, frozenset[str]] = {}
        """Name of an array -> the nodes that it is kept away from."""

    def submit(self, job: EvaluationJob) -> None:
        """See `JobRunner.submit`."""
        self._wanted.add(job.name)
        if job.name in self._jobs:
            return
        self._jobs[job.name] = job
        self._split()
        self._hand_over()

    def poll(self, sizes: Mapping[str, int]) -> Mapping[str, Sequence[TaskReport]]:
        """See `JobRunner.poll`. It asks Slurm only every `scheduler.poll_s`, and uses the last answer in between."""
        self._wanted = set(sizes)  # the others have all their results, whatever Slurm still runs of them
        self._split()
        if self._client.ask([array for name in sizes for array in self._arrays.get(name, ())]):
            self._keep_away()
        self._hand_over()
        return {name: self._reports(name, size) for name, size in sizes.items()}

    def cancel(self, names: Collection[str]) -> None:
        """See `JobRunner.cancel`. It also ends jobs that another process submitted."""
        for name in names:
            for round in (self._run / "rounds").glob("*"):
                arrays.fence_off(round, name)
            for array in self._arrays.get(name, ()):
                array.end("cancelled")
        client.end_jobs(names, self._site.clusters)

    def close(self) -> None:
        """Nothing is held here; the jobs go on."""

    def _split(self) -> None:
        """Split new jobs into arrays, once Slurm has answered how large an array may be."""
        new = {name: job for name, job in self._jobs.items() if name not in self._arrays}
        if not new:
            return
        try:
            self._largest = self._largest or commands.largest_array(self._site.evaluation.clusters)
        except NoAnswer as error:
            log.warning("Slurm does not answer (%s); trying again", error)
            return
        largest = min(self._largest, self._site.scheduler.max_queued or self._largest)
        for name, job in new.items():
            folder = RunDir(self._run).round(job.round).slurm / name
            self._arrays[name] = arrays.split(folder, name, len(job.tasks), largest)
            for array in self._arrays[name]:
                self._client.adopt(array)

    def _reports(self, name: str, size: int) -> tuple[TaskReport, ...]:
        if name in self._arrays:
            return tuple(report for array in self._arrays[name] for report in array.reports)
        state = TaskState.WAITING if name in self._jobs else TaskState.ENDED
        return (TaskReport(state),) * size

    def _hand_over(self) -> None:
        """Call sbatch for the next array, if one waits and the last call is long enough ago."""
        queued = self._queued()
        waiting = [(name, array) for name, array in self._wanted_arrays() if self._is_due(array, queued)]
        if waiting and self._client.may_submit:
            self._sbatch(*waiting[0])

    def _is_due(self, array: Array, queued: int) -> bool:
        if array.job_id or array.doubtful_since is not None or array.is_over:
            return False
        limit = self._site.scheduler.max_queued
        # One that is larger, as it may have been handed over before there was a limit, goes alone: Slurm says why not.
        return limit is None or not queued or queued + array.size <= limit

    def _queued(self) -> int:
        known = [array for _, array in self._wanted_arrays() if array.job_id or array.doubtful_since is not None]
        return sum(report.state is not TaskState.ENDED for array in known for report in array.reports)

    def _wanted_arrays(self) -> list[tuple[str, Array]]:
        return [(name, array) for name, group in self._arrays.items() if name in self._wanted for array in group]

    def _sbatch(self, name: str, array: Array) -> None:
        array.refresh()
        if array.is_over:
            return
        has_room = self._queued() > 0
        excluded = excluded_nodes(self._faulty(), self._site.evaluation)
        try:
            self._client.submit(array, self._script(name, array, excluded), will_have_room=has_room)
        except EvaluationError as error:
            if not excluded:
                raise
            log.warning("%s: refused without %s (%s); submitting it with them", array.name, ", ".join(excluded), error)
            self._client.submit(array, self._script(name, array, ()), will_have_room=has_room)
        else:
            self._excluded[array.name] = frozenset(excluded)
            if excluded:
                log.warning("%s: not on %s: repeated machine faults there", array.name, ", ".join(excluded))

    def _keep_away(self) -> None:
        """Keep what waits in the queue away from nodes that have turned out to be faulty since it was submitted."""
        faulty = self._faulty()
        if self._known_faulty == frozenset(faulty):
            return
        self._known_faulty = frozenset(faulty)
        excluded = excluded_nodes(faulty, self._site.evaluation)
        for name, array in self._wanted_arrays():
            is_queued = array.job_id and any(report.state in _QUEUED for report in array.reports)
            if is_queued and self._excluded.get(array.name, frozenset()) != frozenset(excluded):
                self._change(name, array, excluded)

    def _change(self, name: str, array: Array, excluded: Sequence[str]) -> None:
        """Exclude these nodes from an array in the queue, unless Slurm refuses, or none would be left."""
        jobs = self._site.evaluation
        said = ", ".join(excluded) or "no node any more"
        try:
            if not nodes.are_enough(self._text(name, array, excluded)):
                raise NoAnswer("no other node would do")
            nodes.exclude(array.job_id, with_those_of_the_site(excluded, jobs), jobs.clusters[0])
        except NoAnswer as error:
            log.warning("%s: what waits of it is not kept away from %s (%s)", array.name, said, error)
        else:
            self._excluded[array.name] = frozenset(excluded)
            why = ": repeated machine faults there" if excluded else ""
            log.warning("%s: what waits of it is kept away from %s%s", array.name, said, why)

    def _script(self, name: str, array: Array, excluded: Sequence[str]) -> Path:
        script = array.folder / array.script
        write_atomic(script, self._text(name, array, excluded))
        return script

    def _text(self, name: str, array: Array, excluded: Sequence[str]) -> str:
        job = self._jobs[name]
        command = array_task.command(self._work, self._run, job.round, name, array.first)
        shape = ArrayShape.of(array, job)
        return array_script.text(array.folder, shape, command, self._site, self._evaluation, excluded)
