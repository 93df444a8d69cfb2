"""SlurmLMJob on a real Slurm: whatever fails, each completion is drawn, and no job runs that nobody waits for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.cluster import lm_driver_process, lm_program
from support.cluster.daemons import lives, wait_until
from support.cluster.slurm import Cluster
from support.paths import GOLDEN, ROOT
from support.requests import prompts, request, write

from evohpc.config.site import ContainerSection, LMJobs, SchedulerSection, Site
from evohpc.errors import LMError
from evohpc.files import write_atomic
from evohpc.lm import completions_file
from evohpc.lm.serve import END
from evohpc.lm_job import base as lm_job
from evohpc.lm_job import script as lm_script
from evohpc.lm_job.slurm import SlurmLMJob
from evohpc.run_folder import RoundDir, RunDir, read_request

QUICK = SchedulerSection(poll_s=0.3, poll_max_s=1, submit_every_s=0, settle_s=600, grace_s=0.3)
HASTY = QUICK.model_copy(update={"settle_s": 2})
"""For a job that Slurm never heard of: what it did hear of may become visible late on a busy machine."""
PROMPTS, SAMPLES = 2, 3


def site(scheduler: SchedulerSection = QUICK, **jobs: object) -> Site:
    """A profile for jobs that do little."""
    return Site(scheduler=scheduler, lm=LMJobs.model_validate({"cpus": 1, "memory_mb": 50, **jobs}))


@dataclass
class Round:
    """A run folder with the request of a round, and the LM job of its present driver."""

    run: Path
    site: Site = field(default_factory=site)

    def __post_init__(self) -> None:
        self.run_id = uuid.uuid4().hex[:8]
        self.program = [sys.executable, lm_program.__file__]
        self.ask(0)
        self.restart()

    def ask(self, number: int) -> None:
        """Go on to a round."""
        self.folder = RunDir(self.run).round(number)
        wanted = prompts(["x"] * PROMPTS, SAMPLES)
        write(self.run, request(run_id=self.run_id, round=number, prompts=wanted))

    def restart(self) -> None:
        """Have a new driver."""
        self.job = SlurmLMJob(self.run, self.site, self.program)

    def start(self) -> None:
        self.job.start(self.folder)

    def finish(self) -> None:
        """Poll until it is answered, and rightly."""
        wait_until(self.job.poll, "the request is answered")
        request = read_request(self.folder)
        texts = [c.text for c in completions_file.read_complete(self.folder.completions, request)]
        assert texts == [f"seed {10 * i + j}" for i in range(PROMPTS) for j in range(SAMPLES)]

    def hold(self, at: int) -> Callable[[], None]:
        """Keep jobs from drawing more than so many completions; return what lets them."""
        write_atomic(self.run / "hold", str(at))
        return (self.run / "hold").unlink

    def wait_for(self, completions: int) -> None:
        """Poll until so many are drawn."""
        wait_until(lambda: self.job.poll() or lm_job.progress(self.folder)[0] == completions, f"{completions} drawn")

    @property
    def started(self) -> list[str]:
        """Slurm's id of the job of each start."""
        return [file.read_text().split()[0] for file in (self.run / "started").glob("[!.]*")]

    @property
    def parents(self) -> set[int]:
        """The process that started each."""
        return {int(file.read_text().split()[2]) for file in (self.run / "started").glob("[!.]*")}

    @property
    def node(self) -> str:
        """Of the only start."""
        (file,) = (self.run / "started").glob("[!.]*")
        return file.read_text().split()[1]


def is_empty(slurm: Cluster) -> bool:
    """Say whether no job runs or waits."""
    return not slurm.run("squeue", "--noheader")


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a shell script in front of sbatch; `$real` in it is sbatch itself."""
    folder, real = tmp_path / "bin", shutil.which("sbatch")
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(script: str) -> Path:
        file = folder / "sbatch"
        file.write_text(f"#!/bin/bash\nreal={real}\n{script}\n")
        file.chmod(0o755)
        return file

    return write


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if evohpc lay in /sw/evohpc: scripts name the folder that they bind."""
    monkeypatch.setattr(lm_script, "__file__", "/sw/evohpc/lm_job/script.py")


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(("hold", "golden"), [(False, "lm_container.sh"), (True, "lm_container_hold.sh")])
def test_the_whole_script_with_a_container(hold: bool, golden: str) -> None:
    jobs = LMJobs(
        partition="gpu",
        account="proj1",
        gres="gpu:a100:2",
        cpus=16,
        processes=2,
        image=Path("/images/lm.sif"),
        setup=("module load apptainer",),
        options={"mail-type": "FAIL", "exclusive": True},
        hold=hold,
        idle_minutes=45,
    )
    profile = Site(lm=jobs, container=ContainerSection(gpu="nv", binds=("/opt/drivers",)))
    round = RoundDir(Path("/scratch/my runs/a/rounds/003"))
    work = lm_script.work_of(round, "a-3f2a", 0, Path("/scratch/models/qwen"), hold=hold)
    assert lm_script.text(work, profile) == (GOLDEN / golden).read_text()


def test_the_example_script_is_what_a_search_submits() -> None:
    round = RoundDir(Path("/scratch/runs/mnist1d/rounds/003"))
    work = lm_script.work_of(round, "mnist1d-3f2a", 0, Path("/scratch/models/qwen"))
    jobs = LMJobs(partition="gpu", gpus_per_node="2", processes=2, cpus=16, memory_mb=131072, minutes=120)
    written = lm_script.text(work, Site(python="python3", lm=jobs))
    assert written == (ROOT / "slurm" / "lm.sbatch").read_text()


@pytest.mark.slurm
class TestAJob:
    def test_answers_its_request_and_is_asked_about_once_per_interval(
        self, slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = tmp_path / "asked"
        folder = tmp_path / "bin"
        folder.mkdir()
        for command in ("squeue", "sacct", "scontrol"):
            (folder / command).write_text(f'#!/bin/sh\necho {command} >> {asked}\nexec {shutil.which(command)} "$@"\n')
            (folder / command).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        round = Round(tmp_path)
        release = round.hold(3)
        began = time.monotonic()
        round.start()
        round.wait_for(3)
        while time.monotonic() < began + 4:
            assert not round.job.poll()
        release()
        round.finish()
        assert 1 <= len(asked.read_text().split()) <= 1 + (time.monotonic() - began) / QUICK.poll_s
        assert len(round.started) == 1
        assert f"job {round.started[0]} starts on " in round.folder.lm_log.read_text()

    def test_goes_on_when_its_driver_stops_and_is_adopted_by_the_next(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path)
        release = round.hold(2)
        round.start()
        round.wait_for(2)
        round.job.close()
        round.restart()
        round.start()
        round.start()
        assert not round.job.poll()
        release()
        round.finish()
        assert len(round.started) == 1

    def test_has_its_environment_where_the_site_has_sbatch_export_none(self, slurm: Cluster, tmp_path: Path) -> None:
        setup = [f"export SEEN=yes PYTHONPATH={ROOT}"]
        round = Round(tmp_path, site(retries=0, options={"export": "NONE"}, setup=setup))
        seen = '[ "$SEEN $HF_HUB_OFFLINE" = "yes 1" ] || { echo "error: not set up"; exit 1; }; exec "$@"'
        round.program = ["bash", "-c", seen, "bash", *round.program]
        round.restart()
        round.start()
        round.finish()

    def test_that_is_held_says_so(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path, site(options={"hold": True}))
        round.start()
        assert round.job.held == ""
        wait_until(lambda: round.job.poll() or round.job.held, "it is held")
        assert round.job.held == "Slurm holds it: JobHeldUser"
        (job_id,) = slurm.run("squeue", "--noheader", "--format=%i", f"--name={round.run_id}-000-lm.0").split()
        slurm.run("scontrol", "release", job_id)
        round.finish()
        assert round.job.held == ""

    def test_that_gives_up_says_why_and_a_new_start_tries_again(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path)
        (tmp_path / "error").write_text("/m cannot be loaded")
        round.start()
        with pytest.raises(LMError, match=r"rounds/000 failed: /m cannot be loaded; its log is .*logs/lm\.log"):
            round.finish()
        assert len(round.started) == 1
        (tmp_path / "error").unlink()
        round.start()
        round.finish()
        assert len(round.started) == 2

    def test_that_slurm_refuses_is_an_error_with_advice(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path, site(partition="gpuu"))
        with pytest.raises(LMError, match=r"invalid partition.*set `partition` in the site profile"):
            round.start()
        round.site = site()
        round.restart()
        round.start()
        round.finish()

    def test_can_be_cancelled_by_another_process_and_started_again(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path)
        release = round.hold(2)
        round.start()
        round.wait_for(2)
        SlurmLMJob(tmp_path, round.site).cancel()
        wait_until(lambda: is_empty(slurm), "the queue is empty")
        assert lm_job.progress(round.folder)[0] == 2
        release()
        round.restart()
        round.start()
        round.finish()
        assert len(round.started) == 2


@pytest.mark.slurm
class TestADriverThatIsKilled:
    @pytest.mark.parametrize(
        ("script", "scheduler"),
        [
            pytest.param("kill -9 $PPID", HASTY, id="before sbatch"),
            pytest.param('"$real" "$@" >/dev/null; kill -9 $PPID', QUICK, id="before its answer"),
            pytest.param('(sleep 0.7; setsid "$real" "$@") >/dev/null 2>&1 & kill -9 $PPID', QUICK, id="on its way"),
        ],
    )
    def test_around_sbatch(
        self,
        slurm: Cluster,
        tmp_path: Path,
        sbatch: Callable[[str], Path],
        script: str,
        scheduler: SchedulerSection,
    ) -> None:
        round = Round(tmp_path, site(scheduler))
        wrapper = sbatch(script)
        assert subprocess.run(_driver(round), timeout=300).returncode == -signal.SIGKILL
        wrapper.unlink()
        round.start()
        round.finish()
        wait_until(lambda: is_empty(slurm), "the queue is empty")
        assert len(round.started) == 1

    def test_after_sbatch(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path)
        release = round.hold(1)
        kill_a_driver(round)
        round.start()
        assert not round.job.poll()
        release()
        round.finish()
        assert len(round.started) == 1

    def test_while_its_job_fails(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path)
        (tmp_path / "error").write_text("/m cannot be loaded")
        round.start()
        wait_until(lambda: is_empty(slurm), "it is over")
        round.restart()
        round.start()
        with pytest.raises(LMError, match="/m cannot be loaded"):
            round.finish()
        assert len(round.started) == 1


@pytest.mark.slurm
class TestFaultsOfTheCluster:
    @pytest.mark.parametrize("hold", [False, True], ids=["a round's", "the run's"])
    def test_an_admin_cancels_it_and_the_next_draws_the_rest(self, slurm: Cluster, tmp_path: Path, hold: bool) -> None:
        round = Round(tmp_path, site(hold=hold, retries=0))
        release = round.hold(4)
        round.start()
        round.wait_for(4)
        slurm.run("scancel", round.started[0])
        wait_until(lambda: round.job.poll() or len(round.started) == 2, "the next one starts")
        assert lm_job.progress(round.folder)[0] == 4
        release()
        round.finish()
        assert len(set(round.started)) == 2
        round.job.release()

    def test_an_admin_requeues_it(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path)
        release = round.hold(4)
        round.start()
        round.wait_for(4)
        slurm.run("scontrol", "requeue", round.started[0])
        slurm.wait_requeued(lambda: round.job.poll() or len(round.started) == 2, "it starts again")
        release()
        round.finish()
        assert len(set(round.started)) == 1

    def test_its_node_goes_down_where_the_site_does_not_requeue(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path, site(requeue=False))
        release = round.hold(4)
        round.start()
        round.wait_for(4)
        with slurm.node_down(round.node):
            wait_until(lambda: round.job.poll() or len(round.started) == 2, "the next one starts")
            release()
            round.finish()
        assert len(set(round.started)) == 2

    def test_its_node_is_cut_off_and_goes_on_writing(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path)
        release = round.hold(4)
        round.start()
        round.wait_for(4)
        with slurm.node_cut_off(round.node):
            slurm.wait_requeued(lambda: round.job.poll() or len(round.started) == 2, "its twin starts")
            release()
            round.finish()
        round.finish()

    def test_it_dies_again_and_again_and_that_has_an_end(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path, site(retries=2))
        (tmp_path / "die").touch()
        round.start()
        with pytest.raises(
            LMError, match=r"3 in a row brought nothing further; of the last, its job failed \(Slurm: FAIL"
        ):
            round.finish()
        assert len(set(round.started)) == 3


@pytest.mark.slurm
class TestAJobOfTheRun:
    def test_answers_round_after_round_whoever_drives_until_the_search_needs_it_no_more(
        self, slurm: Cluster, tmp_path: Path
    ) -> None:
        round = Round(tmp_path, site(hold=True))
        release = round.hold(1)
        kill_a_driver(round)
        round.start()
        round.wait_for(1)
        release()
        round.finish()
        for number in (1, 2):
            round.ask(number)
            round.restart()
            round.start()
            round.finish()
            assert f"job {round.started[0]} starts on " in round.folder.lm_log.read_text()
        assert len(round.started) == 3
        assert len(set(round.started)) == 1
        assert not is_empty(slurm)
        round.job.release()
        wait_until(lambda: is_empty(slurm), "the queue is empty")

    def test_gives_its_node_back_when_it_is_idle_and_the_next_round_gets_another(
        self, slurm: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        round = Round(tmp_path, site(hold=True, retries=0, idle_minutes=0.02))
        round.start()
        round.finish()
        wait_until(lambda: is_empty(slurm), "it has left")
        round.ask(1)
        round.start()
        round.finish()
        assert len(set(round.started)) == 2
        assert not caplog.records

    def test_that_leaves_at_the_very_moment_of_a_request_is_followed_by_another(
        self, slurm: Cluster, tmp_path: Path
    ) -> None:
        round = Round(tmp_path, site(hold=True, retries=0))
        round.start()
        round.finish()
        (server,) = round.parents
        os.kill(server, signal.SIGSTOP)  # it has just seen that there is no request, or is just about to see this one
        release = round.hold(0)
        round.ask(1)
        round.start()
        assert not round.job.poll()
        write_atomic(RunDir(tmp_path).slurm / f"{round.run_id}-lm" / "0" / END, "it was idle")
        os.kill(server, signal.SIGCONT)
        wait_until(lambda: round.job.poll() or len(set(round.started)) == 2, "the next one starts")
        release()
        round.finish()
        round.job.release()

    def test_that_is_requeued_while_it_waits_answers_on(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path, site(hold=True))
        round.start()
        round.finish()
        (server,) = round.parents
        slurm.run("scontrol", "requeue", round.started[0])
        wait_until(lambda: not lives(server), "it has left its node")
        round.ask(1)
        round.start()
        slurm.wait_requeued(round.job.poll, "the request is answered")
        round.finish()
        assert len(round.started) == 2
        assert len(set(round.started)) == 1
        round.job.release()

    def test_that_gives_up_says_why_and_a_new_start_tries_again(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path, site(hold=True))
        round.start()
        round.finish()
        (tmp_path / "error").write_text("/m cannot be loaded")
        round.ask(1)
        round.start()
        with pytest.raises(LMError, match=r"rounds/001 failed: /m cannot be loaded; its log is .*/001/logs/lm\.log"):
            round.finish()
        assert len(set(round.started)) == 1
        (tmp_path / "error").unlink()
        round.start()
        round.finish()
        assert len(set(round.started)) == 2
        round.job.release()

    def test_that_fails_before_its_first_request_names_its_own_log(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path, site(hold=True, retries=0, setup=["exit 3"]))
        round.start()
        with pytest.raises(
            LMError, match=rf"1 in a row .* \(Slurm: FAILED\); its log is .*{round.run_id}-lm/0/lm\.log"
        ):
            round.finish()

    def test_can_be_cancelled_by_another_process(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path, site(hold=True))
        round.hold(2)
        round.start()
        round.wait_for(2)
        SlurmLMJob(tmp_path, round.site).cancel()
        wait_until(lambda: is_empty(slurm), "the queue is empty")

    def test_that_still_waits_in_the_queue_is_taken_out_of_it(self, slurm: Cluster, tmp_path: Path) -> None:
        round = Round(tmp_path, site(hold=True, options={"hold": True}))
        round.start()
        wait_until(lambda: round.job.poll() or round.job.held, "it is held")
        round.job.release()
        wait_until(lambda: is_empty(slurm), "the queue is empty")
        assert not round.started

    def test_needs_no_slurm_to_see_that_it_is_needed_no_more(
        self, slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        round = Round(tmp_path, site(hold=True))
        round.start()
        round.finish()
        with monkeypatch.context() as context:
            context.setenv("PATH", "/nowhere")
            round.job.release()
        assert "there is no `squeue` here" in caplog.text
        wait_until(lambda: is_empty(slurm), "the queue is empty")


def kill_a_driver(round: Round) -> None:
    """Have another process submit the job, and die."""
    with subprocess.Popen(_driver(round), stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()
        driver.kill()


def _driver(round: Round) -> list[str]:
    profile = round.run / "site.yaml"
    profile.write_text(round.site.dump())
    return [sys.executable, lm_driver_process.__file__, str(round.folder.request), str(profile), *round.program]
