"""The driver's job: its script, and on a real Slurm that it outlives its time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from support.cluster.daemons import wait_until
from support.cluster.slurm import Cluster
from support.cluster.unkind import UNKIND
from support.command_line import call
from support.paths import ROOT
from support.searching import make_config

from evohpc.config.site import DriverJob, Site, load_site
from evohpc.driver import lease
from evohpc.envelopes import encode
from evohpc.errors import EvaluationError, LeaseError
from evohpc.files import write_atomic
from evohpc.run_folder import RunDir
from evohpc.search import driver_job
from evohpc.search.search import Search


def test_the_example_script_is_what_submit_writes() -> None:
    site = load_site(ROOT / "slurm" / "local.yaml").model_copy(update={"python": "python3"})
    written = driver_job.script(Path("/scratch/runs/mnist1d"), "mnist1d-3f2a", site)
    assert written == (ROOT / "slurm" / "driver.sbatch").read_text()


LIMITED = """
    import os, pathlib, signal, sys, time
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(85))
    starts = pathlib.Path(sys.argv[1])
    with starts.open("a") as file: print(os.environ["SLURM_JOB_ID"], file=file)
    if len(starts.read_text().split()) == 4: sys.exit(0)
    time.sleep(900)
"""


@pytest.fixture
def limited(tmp_path: Path) -> list[str]:
    """Return a driver that stops when it is told to, and have a scontrol that notes what it was asked."""
    program, command = tmp_path / "driver.py", tmp_path / "scontrol"
    program.write_text(textwrap.dedent(LIMITED))
    command.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    command.chmod(0o755)
    return [sys.executable, str(program), str(tmp_path / "starts")]


def _stop(tmp_path: Path, script: str, ready: Path, **environment: str) -> int:
    """Run a driver's script and tell it to stop once a file has content; return how it ended."""
    own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", **environment}
    with subprocess.Popen(["bash", "-c", script], env={**os.environ, **own}) as shell:
        wait_until(lambda: ready.exists() and ready.read_text(), "the driver has started")
        shell.send_signal(signal.SIGUSR1)
    return shell.returncode


@pytest.mark.parametrize(
    "slower",
    [
        pytest.param("", id="at once"),
        pytest.param("trap '[[ $BASH_COMMAND != driver=* ]] || sleep 1' DEBUG", id="before it knows the driver"),
        pytest.param('kill() { command kill "$@" && { [ "$1" = -0 ] || sleep 1; }; }', id="and the driver is faster"),
    ],
)
def test_its_shell_is_told_to_stop(tmp_path: Path, limited: list[str], slower: str) -> None:
    (tmp_path / "slower.sh").write_text(slower)
    script = driver_job.script(tmp_path, "r1", Site(), limited)
    assert _stop(tmp_path, script, tmp_path / "starts", BASH_ENV=str(tmp_path / "slower.sh")) == 0
    assert (tmp_path / "asked").read_text() == "requeue 7\n"


def test_it_asks_to_be_requeued_until_slurm_answers(tmp_path: Path, limited: list[str]) -> None:
    """slurmctld may be restarting when the time limit comes."""
    for name, does in (
        ("scontrol", f'echo "$@" >> {tmp_path}/asked; [ "$(wc -l < {tmp_path}/asked)" = 3 ]'),
        ("sleep", ":"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    script = driver_job.script(tmp_path, "r1", Site(), limited)
    assert _stop(tmp_path, script, tmp_path / "starts") == 0
    assert (tmp_path / "asked").read_text() == 3 * "requeue 7\n"


@pytest.mark.parametrize("setup", UNKIND)
def test_no_line_of_setup_breaks_the_shell_that_supervises(tmp_path: Path, limited: list[str], setup: str) -> None:
    script = driver_job.script(tmp_path, "r1", Site(driver=DriverJob(setup=(setup,))), limited)
    assert _stop(tmp_path, script, tmp_path / "starts") == 0
    assert (tmp_path / "asked").read_text() == "requeue 7\n"


def test_it_goes_on_when_it_is_told_to_stop_during_setup(tmp_path: Path, limited: list[str]) -> None:
    begun = tmp_path / "begun"
    script = driver_job.script(
        tmp_path, "r1", Site(driver=DriverJob(setup=(f"echo yes > {begun}", "while :; do sleep 0.1; done"))), limited
    )
    assert _stop(tmp_path, script, begun) == 0
    assert (tmp_path / "asked").read_text() == "requeue 7\n"


@pytest.mark.parametrize("setup", ["exit 3", "if", "set -e; false"])
def test_a_setup_that_fails_ends_the_driver(tmp_path: Path, limited: list[str], setup: str) -> None:
    script = driver_job.script(tmp_path, "r1", Site(driver=DriverJob(setup=(setup,))), limited)
    done = subprocess.run(["bash", "-c", script], env={**os.environ, "SLURM_JOB_ID": "7"}, stderr=subprocess.DEVNULL)
    assert done.returncode not in (0, driver_job.STOPPED)
    assert not (tmp_path / "starts").exists()


@pytest.fixture
def slurm_commands(tmp_path: Path) -> Path:
    """Have sbatch answer what is in a file, and it and scancel note how they were called; return the notes."""
    for command, answer in (("sbatch", f"cat {tmp_path}/answer"), ("scancel", "exit 1")):
        program = tmp_path / "bin" / command
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho {command} "$@" >> {tmp_path}/called\n{answer}\n')
        program.chmod(0o755)
    return tmp_path / "called"


@pytest.mark.parametrize(
    ("answer", "scancel"),
    [
        ("13", "13"),
        ("13;evohpc", "--clusters=evohpc 13"),
        ("Welcome to the cluster!\nIt has 12 nodes\n13;c1", "--clusters=c1 13"),
        ("13\nYour quota: 80 %", "13"),
    ],
)
def test_the_end_of_a_search_ends_its_chain_of_jobs(
    tmp_path: Path, slurm_commands: Path, answer: str, scancel: str
) -> None:
    (tmp_path / "answer").write_text(f"{answer}\n")
    script = driver_job.script(tmp_path, "r1", Site(driver=DriverJob(go_on_by="successor")), ["touch", "driven"])
    environment = {**os.environ, "PATH": f"{slurm_commands.parent}/bin:{os.environ['PATH']}"}
    own = tmp_path / "driver.sbatch"
    assert subprocess.run(["bash", "-c", script], env=environment, cwd=tmp_path).returncode == 0
    called = f"sbatch --parsable {own}\nscancel {scancel}\n"
    assert slurm_commands.read_text() == called
    (tmp_path / "driven").unlink()
    # Here scancel failed, so the successor starts: it does nothing, above all it submits none.
    assert subprocess.run(["bash", "-c", script], env=environment, cwd=tmp_path).returncode == 0
    assert slurm_commands.read_text() == called
    assert not (tmp_path / "driven").exists()


def test_a_driver_that_slurm_preempts_leaves_the_search_to_its_successor(
    tmp_path: Path, slurm_commands: Path, limited: list[str]
) -> None:
    """Slurm sends SIGTERM, and may start the job again; USR1 comes before the time limit only."""
    (tmp_path / "answer").write_text("13\n")
    starts = tmp_path / "starts"
    script = driver_job.script(tmp_path, "r1", Site(driver=DriverJob(go_on_by="successor")), limited)
    own = {"PATH": f"{slurm_commands.parent}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    for restarts in ({}, {"SLURM_RESTART_COUNT": "1"}):
        starts.unlink(missing_ok=True)
        with subprocess.Popen(["bash", "-c", script], env={**os.environ, **own, **restarts}) as shell:
            wait_until(lambda: starts.exists() and starts.read_text(), "the driver has started")
            shell.send_signal(signal.SIGTERM)
        assert shell.returncode == driver_job.STOPPED
        assert not (tmp_path / driver_job.OVER).exists()
    assert slurm_commands.read_text() == f"sbatch --parsable {tmp_path / 'driver.sbatch'}\n", "one successor, not two"


@pytest.mark.parametrize(
    ("refusals", "restarts"),
    [pytest.param(1, {}, id="refused"), pytest.param(0, {"SLURM_RESTART_COUNT": "1"}, id="requeued before it ran")],
)
def test_a_driver_leaves_its_search_to_nobody_but_a_successor(
    tmp_path: Path, slurm_commands: Path, limited: list[str], refusals: int, restarts: dict[str, str]
) -> None:
    """slurmctld was restarting when the job began, or had counted a start at which its script was never run."""
    write_atomic(
        tmp_path / "bin/sbatch",
        f'#!/bin/sh\necho "sbatch $SLURM_RESTART_COUNT" >> {tmp_path}/called\n'
        f"[ $(wc -l < {tmp_path}/called) -le {refusals} ] || echo 13\n",
    )
    for name in ("sbatch", "sleep"):
        (tmp_path / "bin" / name).touch()
        (tmp_path / "bin" / name).chmod(0o755)
    script = driver_job.script(tmp_path, "r1", Site(driver=DriverJob(go_on_by="successor")), limited)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    assert _stop(tmp_path, script, tmp_path / "starts", PATH=path, **restarts) == 0
    assert slurm_commands.read_text() == (refusals + 1) * "sbatch \n", "none is counted as started again"
    assert not (tmp_path / driver_job.OVER).exists()


def test_a_driver_that_slurm_started_again_takes_its_successor_along(tmp_path: Path, slurm_commands: Path) -> None:
    (tmp_path / "answer").write_text("13;c1\n")
    site = Site(driver=DriverJob(go_on_by="successor"))
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    for ends, restarts in ((driver_job.STOPPED, {}), (0, {"SLURM_RESTART_COUNT": "1"})):
        script = driver_job.script(tmp_path, "r1", site, ["sh", "-c", f"exit {ends}"])
        assert subprocess.run(["bash", "-c", script], env={**environment, **restarts}).returncode == ends
    assert slurm_commands.read_text() == f"sbatch --parsable {tmp_path}/driver.sbatch\nscancel --clusters=c1 13\n"


def test_a_search_that_is_submitted_again_goes_on(
    tmp_path: Path, slurm_commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    (tmp_path / "answer").write_text("14;c1\n")
    squeue = tmp_path / "bin" / "squeue"
    squeue.write_text("#!/bin/sh\n")
    squeue.chmod(0o755)
    (tmp_path / driver_job.OVER).touch()
    assert driver_job.submit(RunDir(tmp_path), "r1", Site(driver=DriverJob(go_on_by="successor"))) == "14"
    assert not (tmp_path / driver_job.OVER).exists()


@pytest.fixture
def queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have squeue print the rows in a file, and scancel note what it ends; return the folder of both files."""
    for command, does in (("squeue", f"cat {tmp_path}/rows"), ("scancel", f'echo "$@" >> {tmp_path}/ended')):
        program = tmp_path / "bin" / command
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    (tmp_path / "rows").write_text("7|N/A|evohpc-r1|RUNNING|n1|None\n")
    return tmp_path


@pytest.mark.parametrize(
    ("rows", "job_id"),
    [
        (["7|N/A|evohpc-r1|COMPLETING|n1|None"], "14"),
        (["7|N/A|evohpc-r1|COMPLETING|n1|None", "8|N/A|evohpc-r1|PENDING||Dependency"], "8"),
        (["7|N/A|evohpc-r1|RUNNING|n1|None"], "7"),
    ],
)
def test_a_job_that_was_cancelled_and_completes_drives_no_search(queued: Path, rows: list[str], job_id: str) -> None:
    """Of a cancelled job squeue says COMPLETING until all its processes have ended: for half a minute, or longer."""
    (queued / "rows").write_text("".join(f"{row}\n" for row in rows))
    (queued / "bin/sbatch").write_text("#!/bin/sh\necho 14\n")
    (queued / "bin/sbatch").chmod(0o755)
    assert driver_job.submit(RunDir(queued), "r1", Site()) == job_id


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["7|N/A|evohpc-r1|PENDING||PartitionTimeLimit"], "Slurm holds it: PartitionTimeLimit"),
        (["7|N/A|evohpc-r1|PENDING||Priority"], ""),
        (["7|N/A|evohpc-r1|RUNNING|n1|None", "8|N/A|evohpc-r1|PENDING||JobHeldUser"], ""),
        (
            ["7|N/A|evohpc-r1|COMPLETING|n1|None", "8|N/A|evohpc-r1|PENDING||JobHeldUser"],
            "Slurm holds it: JobHeldUser",
        ),
        ([], ""),
    ],
)
def test_why_its_job_never_starts_is_told(queued: Path, rows: list[str], reason: str) -> None:
    (queued / "rows").write_text("".join(f"{row}\n" for row in rows))
    assert driver_job.held("r1", Site()) == reason


def test_a_job_that_another_cluster_of_the_federation_runs_is_alive(queued: Path) -> None:
    (queued / "rows").write_text("7|N/A|evohpc-r1|REVOKED||None\n")
    assert driver_job.submit(RunDir(queued), "r1", Site()) == "7", "not submitted a second time"
    assert driver_job.cancel(RunDir(queued), "r1", Site(), print) == ["7"]
    assert (queued / "ended").read_text() == "--quiet 7\n"


def test_where_nobody_answers_no_reason_is_told(queued: Path) -> None:
    (queued / "rows").unlink()
    assert driver_job.held("r1", Site()) == ""


def test_submit_says_that_the_job_which_is_there_never_starts(queued: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = Search.create(queued / "run", make_config(queued), site=Site())
    (queued / "rows").write_text(f"7|N/A|evohpc-{search.run_id}|PENDING||PartitionTimeLimit\n")
    code, out, err = call(capsys, "submit", queued / "run")
    assert (code, out) == (0, "7\n")
    assert f"job 7 is to drive {queued}/run, and does not start by itself: Slurm holds it: PartitionTimeLimit" in err
    assert "drives" not in err


def _held_by(run: RunDir, **changes: object) -> None:
    """Have a run held by a driver that is like this process but for these changes, and lives no more if it is here."""
    current = replace(lease.Holder.of_this_process(epoch=1), **{"slurm_job_id": "", **changes})  # type: ignore[arg-type]
    write_atomic(run.lease / "000001.json", encode(asdict(current)))


def test_under_a_driver_that_is_no_job_nothing_is_ended(queued: Path) -> None:
    run = RunDir(queued)
    with lease.acquire(run), pytest.raises(LeaseError, match=rf"driven by process {os.getpid()} on .*: stop it first"):
        driver_job.cancel(run, "r1", Site(), print)
    assert not (queued / "ended").exists()
    assert driver_job.cancel(run, "r1", Site(), print) == ["7"]
    assert (queued / "ended").read_text() == "--quiet 7\n"


def test_a_successor_that_sbatch_takes_after_a_cancel_drives_nothing(queued: Path) -> None:
    """The cancelled job had just begun, and its call of sbatch was under way."""
    site = Site(driver=DriverJob(go_on_by="successor"))
    assert driver_job.cancel(RunDir(queued), "r1", site, print) == ["7"]
    script = driver_job.script(queued, "r1", site, ["touch", "driven"])
    assert subprocess.run(["bash", "-c", script], cwd=queued).returncode == 0
    assert not (queued / "driven").exists()
    assert driver_job.submit(RunDir(queued), "r1", site) == "7"
    assert not (queued / driver_job.OVER).exists()


@pytest.mark.parametrize("was_over", [False, True])
def test_a_driver_that_slurm_could_not_be_told_to_end_keeps_its_successor(queued: Path, was_over: bool) -> None:
    if was_over:
        (queued / driver_job.OVER).touch()
    (queued / "bin/scancel").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2; exit 1\n")
    with pytest.raises(EvaluationError, match="cancel again when it does"):
        driver_job.cancel(RunDir(queued), "r1", Site(driver=DriverJob(go_on_by="successor")), print)
    assert (queued / driver_job.OVER).exists() == was_over


def test_a_driver_elsewhere_that_is_no_job_is_waited_for(queued: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(queued)
    monkeypatch.setattr(lease, "DEAD_AFTER_S", 0.5)
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.04)
    _held_by(run, host="login2")
    beating = threading.Timer(0.1, _held_by, (run,), {"host": "login2", "beat": 1})
    beating.start()
    said: list[str] = []
    with pytest.raises(LeaseError, match=r"on login2, .*: stop it first"):
        driver_job.cancel(run, "r1", Site(), said.append)
    beating.join()
    assert not (queued / "ended").exists()
    assert len(said) == 1
    assert driver_job.cancel(run, "r1", Site(), print) == ["7"], "its heart stands still"


@pytest.mark.parametrize("changes", [{"host": "n1", "slurm_job_id": "7"}, {"started": 1}], ids=["its job", "dead"])
def test_its_job_and_the_arrays_of_a_dead_driver_are_ended_at_once(queued: Path, changes: dict[str, object]) -> None:
    _held_by(RunDir(queued), **changes)
    assert driver_job.cancel(RunDir(queued), "r1", Site(), pytest.fail) == ["7"]


def test_a_driver_in_a_job_of_the_user_s_own_is_none_of_its_jobs(queued: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    with (
        lease.acquire(RunDir(queued)),
        pytest.raises(LeaseError, match="Slurm job 9, which is not a job of `evohpc sub"),
    ):
        driver_job.cancel(RunDir(queued), "r1", Site(), print)
    assert not (queued / "ended").exists()


@pytest.mark.slurm
@pytest.mark.parametrize("go_on_by", ["requeue", "successor"])
def test_it_hits_its_limit_three_times_and_finishes(slurm: Cluster, tmp_path: Path, go_on_by: str) -> None:
    program, starts = tmp_path / "driver.py", tmp_path / "starts"
    program.write_text(textwrap.dedent(LIMITED))
    site = Site(driver=DriverJob.model_validate({"memory_mb": 50, "go_on_by": go_on_by}))
    path = tmp_path / "driver.sbatch"
    path.write_text(driver_job.script(tmp_path, "r1", site, ["python3", str(program), str(starts)]))
    slurm.run("sbatch", str(path))
    for times in (1, 2, 3):
        slurm.wait_requeued(lambda: starts.exists() and len(starts.read_text().split()) == times, f"start {times}")  # noqa: B023
        # What Slurm itself does ahead of the limit; it looks only every half minute or so.
        slurm.run("scancel", "--batch", "--signal=USR1", starts.read_text().split()[-1])
    slurm.wait_requeued(lambda: len(starts.read_text().split()) == 4, "start 4")
    wait_until(lambda: not slurm.run("squeue", "--noheader"), "the queue is empty")
    assert len(set(starts.read_text().split())) == (1 if go_on_by == "requeue" else 4)


@pytest.mark.slurm
def test_a_run_has_one_driver_and_it_can_be_cancelled(slurm: Cluster, tmp_path: Path) -> None:
    site = Site(python="sleep 60 #", driver=DriverJob(memory_mb=50, options={"hold": True}))
    first = driver_job.submit(RunDir(tmp_path), "r2", site)
    assert driver_job.submit(RunDir(tmp_path), "r2", site) == first
    run = RunDir(tmp_path)
    assert driver_job.cancel(run, "r2", site, print) == [first]
    wait_until(lambda: not slurm.run("squeue", "--noheader"), "the queue is empty")
    assert driver_job.cancel(run, "r2", site, print) == []


@pytest.mark.slurm
def test_a_wrong_profile_is_refused_with_advice(slurm: Cluster, tmp_path: Path) -> None:
    site = Site(driver=DriverJob(partition="nowhere"))
    with pytest.raises(EvaluationError, match="set `partition` in the site profile"):
        driver_job.submit(RunDir(tmp_path), "r3", site)
