"""SlurmRunner on a real Slurm: every array does its work once, whatever fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.cluster import driver_process
from support.cluster.daemons import wait_until
from support.cluster.slurm import Cluster
from support.cluster.work import die, trace
from support.paths import TESTS

from evohpc import envelopes
from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.site import EvaluationJobs, SchedulerSection, Site
from evohpc.errors import EvaluationError
from evohpc.files import write_atomic
from evohpc.jobs.array_task import Work
from evohpc.jobs.slurm import SlurmRunner
from evohpc.messages import Attempt, EvaluationJob, Status, TaskReport, TaskState
from evohpc.run_folder import RunDir

pytestmark = pytest.mark.slurm

QUICK = SchedulerSection(poll_s=0.3, poll_max_s=1, submit_every_s=0, settle_s=600)
HASTY = QUICK.model_copy(update={"settle_s": 2})
"""For jobs that Slurm never heard of, and tasks that were cancelled before they ran, which it does not show any more:
what it does show may become visible late on a busy machine."""
TINY = EvaluationConfig(time_limit_s=1, memory_mb=50)


@dataclass
class Search:
    """A run folder with one EvaluationJob, and the runner of its present driver."""

    run: Path
    size: int
    site: Site = field(default_factory=lambda: site())
    work: Work = trace

    def __post_init__(self) -> None:
        self.name = f"{uuid.uuid4().hex[:8]}-000-00"
        tasks = tuple((Attempt(f"r000p00s{index:03d}", 1),) for index in range(self.size))
        self.job = EvaluationJob(self.name, 0, tasks)
        self.spec = RunDir(self.run).round(0).job(self.name)
        write_atomic(self.spec, envelopes.seal("run1", 1, self.job))
        self.restart()

    def restart(self) -> None:
        """Have a new driver."""
        self.runner = SlurmRunner(self.run, self.site, TINY, work=self.work)

    def submit(self) -> None:
        self.runner.submit(self.job)

    def poll(self) -> Sequence[TaskReport]:
        return self.runner.poll({self.name: self.size})[self.name]

    def states(self) -> set[TaskState]:
        return {report.state for report in self.poll()}

    def finish(self) -> Sequence[TaskReport]:
        """Poll until all is over."""
        wait_until(lambda: self.states() == {TaskState.ENDED}, "all tasks have ended", 900)
        return self.poll()

    def count(self, folder: str) -> list[int]:
        """How often each task left its trace in a folder."""
        indices = [int(path.name.split(".")[1]) for path in (self.run / folder).glob("[!.]*")]
        return [indices.count(index) for index in range(self.size)]

    def hold(self) -> Callable[[], None]:
        """Keep tasks from ending; return what lets them."""
        (self.run / "hold").touch()
        return (self.run / "hold").unlink

    def wait_running(self) -> None:
        wait_until(lambda: sum(self.count("started")) == self.size, "all tasks run")

    @property
    def answer(self) -> Path:
        """Of sbatch, once it is kept."""
        return self.run / "rounds/000/slurm" / self.name / "0/job_id"

    @property
    def job_id(self) -> str:
        return self.answer.read_text()


def site(scheduler: SchedulerSection = QUICK, **evaluation: object) -> Site:
    jobs = EvaluationJobs.model_validate({"extra_minutes": 60, "extra_memory_mb": 50, **evaluation})
    return Site(scheduler=scheduler, evaluation=jobs)


@pytest.fixture(autouse=True)
def _work_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)


@pytest.fixture
def replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put a shell script in front of a Slurm command; `$real` in it is the command itself."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{folder}:{path}")

    def write(command: str, script: str) -> Path:
        file = folder / command
        file.write_text(f"#!/bin/bash\nreal={shutil.which(command, path=path)}\n{script}\n")
        file.chmod(0o755)
        return file

    return write


def test_each_task_runs_once_in_arrays_of_the_allowed_size(slurm: Cluster, tmp_path: Path) -> None:
    search = Search(tmp_path, 160)  # MaxArraySize is 11
    search.submit()
    reports = search.finish()
    assert search.count("started") == search.count("done") == [1] * 160
    assert len(list(tmp_path.glob("rounds/000/slurm/*/*/array.sh"))) == 15
    assert {report.fault for report in reports} == {Status.LOST}


def test_at_most_so_many_tasks_are_queued(slurm: Cluster, tmp_path: Path) -> None:
    search = Search(tmp_path, 6, site(QUICK.model_copy(update={"max_queued": 4})))
    release = search.hold()
    search.submit()
    wait_until(lambda: sum(search.count("started")) == 4, "four run")
    assert [report.state for report in search.poll()][4:] == [TaskState.WAITING] * 2
    release()
    search.finish()
    assert search.count("done") == [1] * 6


def test_jobs_that_have_all_their_results_are_in_nobodys_way(slurm: Cluster, tmp_path: Path) -> None:
    first = Search(tmp_path, 2, site(QUICK.model_copy(update={"max_queued": 2})))
    release = first.hold()
    first.submit()
    first.wait_running()
    second = Search(tmp_path, 2)
    second.runner = first.runner
    second.submit()
    wait_until(lambda: second.poll() and sum(second.count("started")) == 4, "the second runs, too")
    release()
    second.finish()


def test_a_folder_that_slurm_would_misread_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="reads a % in a path as a pattern"):
        SlurmRunner(tmp_path / "50%", Site(), TINY)


def test_slurm_is_asked_once_per_interval_for_the_whole_run(
    slurm: Cluster, tmp_path: Path, replace: Callable[[str, str], Path]
) -> None:
    log = tmp_path / "asked"
    for command in ("squeue", "sacct", "scontrol"):
        replace(command, f'echo {command} >> {log}; exec $real "$@"')
    search = Search(tmp_path, 40, site(QUICK.model_copy(update={"poll_s": 1.0})))
    started = time.monotonic()
    search.submit()
    search.finish()
    asked = log.read_text().split()
    assert asked.count("scontrol") == 1
    assert 2 <= len(asked) - 1 <= 1 + (time.monotonic() - started) / 1.0


class TestADriverThatIsKilled:
    """kill -9 before, during and after sbatch: lost 0, doubled 0."""

    @pytest.mark.parametrize(
        ("sbatch", "scheduler"),
        [
            pytest.param("kill -9 $PPID", HASTY, id="before"),
            pytest.param('"$real" "$@" >/dev/null; kill -9 $PPID', QUICK, id="before its answer"),
            pytest.param('(sleep 0.7; setsid "$real" "$@") >/dev/null 2>&1 & kill -9 $PPID', QUICK, id="on its way"),
        ],
    )
    def test_around_sbatch(
        self,
        slurm: Cluster,
        tmp_path: Path,
        replace: Callable[[str, str], Path],
        sbatch: str,
        scheduler: SchedulerSection,
    ) -> None:
        search = Search(tmp_path, 3, site(scheduler))
        wrapper = replace("sbatch", sbatch)
        assert _drive(search).returncode == -signal.SIGKILL
        wrapper.unlink()
        search.submit()
        search.finish()
        assert len(_arrays(slurm, search)) == 1
        assert search.count("started") == search.count("done") == [1] * 3

    def test_around_an_sbatch_that_comes_in_very_late(
        self, slurm: Cluster, tmp_path: Path, replace: Callable[[str, str], Path]
    ) -> None:
        search, come = Search(tmp_path, 3, site(HASTY)), tmp_path / "come"
        late = f'until [ -e {come} ]; do sleep 0.1; done; setsid "$real" "$@"'
        wrapper = replace("sbatch", f"({late}) >/dev/null 2>&1 & kill -9 $PPID")
        assert _drive(search).returncode == -signal.SIGKILL
        wrapper.unlink()
        search.submit()
        wait_until(lambda: search.poll() and search.answer.exists(), "it is submitted again")
        come.touch()
        search.finish()
        wait_until(lambda: len(_arrays(slurm, search)) == 2, "both arrays came in")
        wait_until(lambda: not slurm.run("squeue", "--noheader"), "the queue is empty")
        assert search.count("started") == search.count("done") == [1] * 3

    def test_after_sbatch(self, slurm: Cluster, tmp_path: Path) -> None:
        search = Search(tmp_path, 3)
        release = search.hold()
        with subprocess.Popen(_command(search)) as driver:
            wait_until(lambda: search.answer.exists() or driver.poll() is not None, "sbatch has answered")
            driver.kill()
        job_id = search.job_id
        search.submit()
        assert TaskState.ENDED not in search.states()
        release()
        search.finish()
        assert search.job_id == job_id
        assert search.count("started") == search.count("done") == [1] * 3

    def test_while_its_jobs_end(self, slurm_with_accounting: Cluster, tmp_path: Path) -> None:
        search = Search(tmp_path, 3)
        search.submit()
        wait_until(lambda: search.count("done") == [1] * 3, "all are done")
        wait_until(lambda: not slurm_with_accounting.run("squeue", "--noheader", "--states=all"), "Slurm forgot")
        search.restart()
        search.submit()
        assert {report.reason for report in search.finish()} == {
            "its job completed without a result (Slurm: COMPLETED)"
        }
        assert search.count("started") == [1] * 3


class TestAnAnswerThatIsLost:
    """sbatch: Socket timed out on send/recv operation."""

    def test_though_the_job_was_accepted(
        self, slurm: Cluster, tmp_path: Path, replace: Callable[[str, str], Path]
    ) -> None:
        calls = tmp_path / "calls"
        replace("sbatch", f'echo x >> {calls}; "$real" "$@" >/dev/null; {_TIMED_OUT}')
        search = Search(tmp_path, 3)
        search.submit()
        search.finish()
        assert calls.read_text().split() == ["x"]
        assert search.count("started") == search.count("done") == [1] * 3

    def test_and_the_job_was_not_accepted(
        self, slurm: Cluster, tmp_path: Path, replace: Callable[[str, str], Path]
    ) -> None:
        calls = tmp_path / "calls"
        replace("sbatch", f'echo x >> {calls}; [ "$(wc -l < {calls})" = 3 ] && exec "$real" "$@"; {_TIMED_OUT}')
        search = Search(tmp_path, 3, site(HASTY))
        search.submit()
        search.finish()
        assert calls.read_text().split() == ["x"] * 3
        assert search.count("started") == search.count("done") == [1] * 3

    def test_nor_is_its_limit_an_error(
        self, slurm: Cluster, tmp_path: Path, replace: Callable[[str, str], Path]
    ) -> None:
        calls = tmp_path / "calls"
        limit = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
        replace(
            "sbatch", f'echo x >> {calls}; [ "$(wc -l < {calls})" = 3 ] && exec "$real" "$@"; echo {limit} >&2; exit 1'
        )
        search = Search(tmp_path, 3)
        search.submit()
        assert search.poll()[0] == TaskReport(TaskState.HELD, reason="sbatch: QOSMaxSubmitJobPerUserLimit")
        search.finish()
        assert search.count("started") == [1] * 3

    def test_and_a_limit_that_the_site_profile_gets_after_it_holds_for_what_was_refused(
        self, slurm: Cluster, tmp_path: Path, replace: Callable[[str, str], Path]
    ) -> None:
        replace("sbatch", 'echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1')
        search = Search(tmp_path, 10)
        search.submit()
        assert search.states() == {TaskState.HELD}
        replace("sbatch", 'exec "$real" "$@"')
        search.site = site(QUICK.model_copy(update={"max_queued": 4}))
        search.restart()
        search.submit()
        search.finish()
        assert search.count("started") == search.count("done") == [1] * 10
        assert len(list(tmp_path.glob("rounds/000/slurm/*/*/job_id"))) == 3


class TestFaultsOfTheCluster:
    def test_a_node_that_goes_down_has_its_task_requeued(self, slurm: Cluster, tmp_path: Path) -> None:
        search = Search(tmp_path, 1)
        release = search.hold()
        search.submit()
        search.wait_running()
        with slurm.node_down(_node(search)):
            slurm.wait_requeued(lambda: search.count("started") == [2] or not search.states(), "it runs again")
            release()
            search.finish()
        assert search.count("done") == [1]

    def test_or_if_the_site_does_not_requeue_it_is_the_nodes_fault(self, slurm: Cluster, tmp_path: Path) -> None:
        search = Search(tmp_path, 1, site(requeue=False))
        release = search.hold()
        search.submit()
        search.wait_running()
        node = _node(search)
        with slurm.node_down(node):
            assert [(report.fault, report.host) for report in search.finish()] == [(Status.NODE_FAIL, node)]
        release()

    def test_a_node_where_attempts_fail_again_and_again_gets_none_of_the_next_array(
        self, slurm: Cluster, tmp_path: Path
    ) -> None:
        first, search = Search(tmp_path / "first", 1), Search(tmp_path / "second", 8)
        first.submit()
        first.finish()
        bad = _node(first)
        search.runner = SlurmRunner(search.run, search.site, TINY, work=trace, faulty=lambda: ["laptop", bad])
        search.submit()
        search.finish()
        assert search.count("done") == [1] * 8
        shown = slurm.run("squeue", "--noheader", "--states=all", "--format=%N", f"--jobs={search.job_id}")
        assert bad not in shown.split()
        assert shown.split()

    def test_and_none_of_an_array_that_waits_already(self, slurm: Cluster, tmp_path: Path) -> None:
        search, faulty = Search(tmp_path, 6, site(options={"hold": True})), ["n2"]
        search.runner = SlurmRunner(search.run, search.site, TINY, work=trace, faulty=lambda: faulty)
        search.submit()
        slurm.run("scontrol", "update", f"JobId={search.job_id}", "ExcNodeList=")  # it was submitted without n2
        slurm.run("scontrol", "release", f"{search.job_id}_0")
        wait_until(lambda: search.count("done")[0] == 1, "one has run")
        faulty[:] = ["n1", "n3"]
        wait_until(lambda: search.poll() and "ExcNodeList=n1,n3" in _shown(slurm, search), "the others are kept away")
        for index in range(1, 6):  # nor the first: Slurm refuses, once it knows that it has finished
            slurm.run("scontrol", "release", f"{search.job_id}_{index}")
        search.finish()
        assert search.count("done") == [1] * 6
        asked = ("--noheader", "--array", "--states=all", "--format=%K %N", f"--jobs={search.job_id}")
        shown = slurm.run("squeue", *asked)
        ran = [line.split()[1] for line in shown.splitlines() if not line.startswith("0 ")]
        assert len(ran) == 5
        assert {*ran} <= {"n2", "n4"}

    def test_a_node_that_is_cut_off_goes_on_writing_and_has_one_effect(self, slurm: Cluster, tmp_path: Path) -> None:
        search = Search(tmp_path, 1)
        release = search.hold()
        search.submit()
        search.wait_running()
        with slurm.node_cut_off(_node(search)):
            slurm.wait_requeued(
                lambda: search.count("started") == [2] or not search.states(), "its twin runs elsewhere"
            )
            release()
            search.finish()
        assert search.count("done") == [1]

    def test_an_admin_cancels_it(self, slurm: Cluster, tmp_path: Path) -> None:
        search = Search(tmp_path, 2, site(HASTY, options={"hold": True}))
        search.submit()
        wait_until(lambda: search.states() == {TaskState.HELD}, "it is held")
        slurm.run("scancel", f"{search.job_id}_1")
        wait_until(lambda: search.poll()[1].state is TaskState.ENDED, "one is over")
        assert search.poll()[0].state is TaskState.HELD
        slurm.run("scontrol", "release", search.job_id)
        search.finish()
        assert search.count("started") == search.count("done") == [1, 0]

    def test_an_admin_requeues_it(self, slurm: Cluster, tmp_path: Path) -> None:
        search = Search(tmp_path, 1)
        release = search.hold()
        search.submit()
        search.wait_running()
        slurm.run("scontrol", "requeue", f"{search.job_id}_0")
        slurm.wait_requeued(lambda: search.count("started") == [2] or not search.states(), "it runs again")
        release()
        search.finish()
        assert search.count("done") == [1]

    def test_the_controller_restarts(self, slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        search = Search(tmp_path, 2)
        release = search.hold()
        search.submit()
        search.wait_running()
        wait_until(lambda: search.states() == {TaskState.RUNNING}, "they are seen to run")
        slurm.stop_controller()
        try:
            with monkeypatch.context() as context:
                context.setenv("SLURM_CONF", str(slurm.impatient_conf()))
                time.sleep(QUICK.poll_max_s)
                assert search.states() == {TaskState.RUNNING}
                search.restart()
                search.submit()
                assert search.states() == {TaskState.WAITING}
        finally:
            slurm.start_controller()
        wait_until(lambda: search.states() == {TaskState.RUNNING}, "they are seen to run")
        release()
        search.finish()
        assert search.count("started") == search.count("done") == [1, 1]

    def test_it_refuses_the_job_for_good(self, slurm: Cluster, tmp_path: Path) -> None:
        search = Search(tmp_path, 1, site(partition="gpuu"))
        with pytest.raises(EvaluationError, match=r"invalid partition.*set `partition` in the site profile"):
            search.submit()
        search.site = site()
        search.restart()
        search.submit()
        search.finish()
        assert search.count("done") == [1]


class TestTheEndOfATask:
    def test_a_suspended_task_is_not_over(self, slurm: Cluster, tmp_path: Path) -> None:
        search = Search(tmp_path, 1)
        release = search.hold()
        search.submit()
        search.wait_running()
        slurm.run("scontrol", "suspend", f"{search.job_id}_0")
        time.sleep(2 * QUICK.poll_s)
        assert search.states() == {TaskState.RUNNING}
        slurm.run("scontrol", "resume", f"{search.job_id}_0")
        release()
        search.finish()

    def test_a_task_that_dies_is_noticed_without_accounting(self, slurm: Cluster, tmp_path: Path) -> None:
        search = Search(tmp_path, 2, work=die)
        search.submit()
        assert [report.reason for report in search.finish()] == ["its job failed (Slurm: FAILED)"] * 2

    def test_and_with_accounting_though_the_controller_forgot(
        self, slurm_with_accounting: Cluster, tmp_path: Path
    ) -> None:
        patient = QUICK.model_copy(update={"poll_s": 5.0, "poll_max_s": 5.0})
        search = Search(tmp_path, 2, site(patient), work=die)
        search.submit()
        wait_until(
            lambda: slurm_with_accounting.run("sacct", "-X", "-n", "-o", "State", "-j", search.job_id).count("FAILED"),
            "accounting knows that it failed",
        )
        wait_until(lambda: not slurm_with_accounting.run("squeue", "--noheader", "--states=all"), "Slurm forgot")
        assert [report.reason for report in search.finish()] == ["its job failed (Slurm: FAILED)"] * 2


def test_another_process_can_cancel(slurm: Cluster, tmp_path: Path) -> None:
    search = Search(tmp_path, 13, site(HASTY))
    release = search.hold()
    search.submit()
    wait_until(lambda: sum(search.count("started")) >= 2, "some run")
    SlurmRunner(tmp_path, search.site, TINY).cancel([search.name])
    assert search.finish()
    wait_until(lambda: not slurm.run("squeue", "--noheader"), "the queue is empty")
    release()
    assert sum(search.count("done")) == 0


_TIMED_OUT = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"


def _shown(slurm: Cluster, search: Search) -> str:
    return slurm.run("scontrol", "show", "job", f"{search.job_id}_5")


def _node(search: Search) -> str:
    return next((search.run / "started").glob("[!.]*")).read_text()


def _arrays(cluster: Cluster, search: Search) -> set[str]:
    """The Slurm job arrays that ever had this search's name."""
    return set(cluster.run("squeue", "--noheader", "--states=all", "--format=%F", f"--name={search.name}").split())


def _command(search: Search) -> list[str]:
    profile = search.run / "site.yaml"
    profile.write_text(search.site.dump())
    return [sys.executable, driver_process.__file__, str(search.spec), str(profile)]


def _drive(search: Search) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(_command(search), timeout=300)
