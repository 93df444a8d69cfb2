"""What sbatch and sacct say, and what is made of it; the commands themselves are shell scripts."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from evohpc.errors import EvaluationError
from evohpc.slurm import commands
from evohpc.slurm.commands import Answer

Fake = Callable[[str, str], None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.setenv("PATH", str(tmp_path))

    def write(command: str, script: str) -> None:
        (tmp_path / command).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / command).chmod(0o755)

    return write


@pytest.mark.parametrize(
    ("script", "answer", "job_id"),
    [
        ("echo 42", Answer.ACCEPTED, "42"),
        ("echo '42;cluster1'", Answer.ACCEPTED, "42"),
        ("echo 'Welcome! 12 nodes'; echo '42;c1'", Answer.ACCEPTED, "42"),
        ("echo 42; echo 'Your quota: 80 %'", Answer.ACCEPTED, "42"),
        ("echo 42; printf 'sbatch: lua: caf\\351\\n' >&2", Answer.ACCEPTED, "42"),
        ("echo 'welcome to the cluster'", Answer.LOST, ""),
        ("echo 'sbatch: error: Batch job submission failed: Slurm backup controller in standby mode' >&2; exit 1",
         Answer.LATER, ""),
        ("echo 'sbatch: fatal: Unable to process configuration file' >&2; exit 1", Answer.LATER, ""),
        ("echo 'sbatch: fatal: Could not establish a configuration source' >&2; exit 1", Answer.LATER, ""),
        ("echo 'sbatch: error: Invalid user for SlurmUser slurm, ignored' >&2; exit 1", Answer.LATER, ""),
        ("echo 'sbatch: fatal: Invalid user id: 1046' >&2; exit 1", Answer.LATER, ""),
        ("echo 'sbatch: error: fork: Cannot allocate memory' >&2; exit 1", Answer.LATER, ""),
        ("echo 'sbatch: error: Batch job submission failed: Required partition not available (inactive or drain)' >&2;"
         "exit 1", Answer.LATER, ""),
        ("echo 'sbatch: error while loading shared libraries: libslurmfull.so: cannot open shared object file' >&2;"
         "exit 127", Answer.LATER, ""),
        ("echo 'sbatch: fatal: Can not find plugin for select/cons_tres' >&2; exit 1", Answer.LATER, ""),
        ("echo 'sbatch: error: Protocol version has changed, re-link your code' >&2; exit 1", Answer.LATER, ""),
        ("echo 'sbatch: error: Unable to open file array.sh: Stale file handle' >&2; exit 1", Answer.LATER, ""),
        ("echo 'sbatch: error: Batch job submission failed: Protocol authentication error' >&2; exit 1",
         Answer.LOST, ""),
        ("echo 'sbatch: error: Batch job submission failed: Unexpected message received' >&2; exit 1",
         Answer.LOST, ""),
        ("echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1",
         Answer.LOST, ""),
        ("echo 'sbatch: error: Unable to contact slurm controller (connect failure)' >&2; exit 1", Answer.LOST, ""),
        ("kill -INT $$", Answer.LOST, ""),
        ("kill -KILL $$", Answer.LOST, ""),
        ("exit 137", Answer.LOST, ""),
        ("echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2; exit 1", Answer.LATER, ""),
        ("echo 'sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying' >&2; exit 1",
         Answer.LATER, ""),
    ],
)  # fmt: skip
def test_answers_of_sbatch(fake: Fake, script: str, answer: Answer, job_id: str) -> None:
    fake("sbatch", script)
    submission = commands.submit(Path("array.sh"))
    assert (submission.answer, submission.job_id) == (answer, job_id)


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("Message send failure", Answer.LOST),
        ("Message receive failure", Answer.LOST),
        ("Insane message length", Answer.LOST),
        ("Unexpected missing socket error", Answer.LOST),
        ("Header lengths are longer than data received", Answer.LOST),
        ("Kernel reported delayed socket error after successful write(), client side likely closed", Answer.LOST),
        ("Cannot unpack credential", Answer.LOST),
        ("Token Generation failed.", Answer.LOST),
        ("Broken pipe", Answer.LOST),
        ("No route to host", Answer.LOST),
        ("Network is unreachable", Answer.LOST),
        ("Interrupted system call", Answer.LOST),
        ("Rate limit exceeded, please retry momentarily", Answer.LATER),
        ("Rate limit exceeded, please retry later", Answer.LATER),
        ("MaxJobCount limit reached", Answer.LATER),
        ("System submissions disabled", Answer.LATER),
        ("Partition in DOWN state", Answer.LATER),
        ("Required node not available (down, drained or reserved)", Answer.LATER),
        ("Requested nodes are busy", Answer.LATER),
        ("Requested reservation not usable now", Answer.LATER),
        ("Licenses currently unavailable", Answer.LATER),
        ("Invalid group id", Answer.LATER),
        ("Unable to resolve group ID to group name", Answer.LATER),
        ("Unable to resolve user ID to user name", Answer.LATER),
    ],
)
def test_what_slurm_says_of_a_fault_of_its_own_is_no_refusal_for_good(fake: Fake, message: str, answer: Answer) -> None:
    """Words of src/common/slurm_errno.c, and of errno(3)."""
    fake("sbatch", f"echo 'sbatch: error: Batch job submission failed: {message}' >&2; exit 1")
    assert commands.submit(Path("array.sh")).answer is answer


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("Invalid account or account/partition combination specified", "`account`"),
        ("invalid partition specified: gpuu", "`partition`"),
        ("Invalid qos specification", "`qos`"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "evaluation.time_limit_s"),
        ("Requested node configuration is not available", "no node of the partition"),
        ("Invalid generic resource (gres) specification", "`gres`"),
        ("Invalid job array specification", "MaxArraySize"),
        ("Access denied to requested reservation", "evohpc doctor"),
        ("a plugin of this site says no", "evohpc doctor"),
    ],
)
def test_a_refusal_says_what_to_change(fake: Fake, message: str, advice: str) -> None:
    fake("sbatch", f"echo 'sbatch: error: Batch job submission failed: {message}' >&2; exit 1")
    with pytest.raises(EvaluationError, match=advice):
        commands.submit(Path("array.sh"))


def test_a_refusal_in_another_encoding_is_read(fake: Fake) -> None:
    fake("sbatch", "printf 'sbatch: error: caf\\351 is closed\\n' >&2; exit 1")
    with pytest.raises(EvaluationError, match="caf\ufffd is closed"):
        commands.submit(Path("array.sh"))


def test_jobs_with_names_that_are_not_ours_are_passed_over(fake: Fake) -> None:
    odd = r"7|N/A|two\nlines|RUNNING|n|None\n8|N/A|a|b|RUNNING|n|None\ncaf\351\n|||||\n6|N/A|caf\351|RUNNING|n|None\n"
    fake("squeue", rf"printf '{odd}9|3|r1-000-00|RUNNING|n|None\n'")
    assert [(row.job_id, row.index, row.name) for row in commands.queue()] == [
        ("6", -1, "caf\ufffd"),
        ("9", 3, "r1-000-00"),
    ]
    fake("sacct", r"printf '7|two\nlines|FAILED|n\n7_1|new|FAILED|n\n'")
    assert [row.index for row in commands.history({"7": "new"}) or ()] == [1]


def test_what_else_slurm_prints_beside_array_tasks(fake: Fake) -> None:
    steps = r"9_3|r-000-00|OUT_OF_MEMORY|n4\n9_3.batch|batch|FAILED|n4\n9_3.extern|extern|COMPLETED|n4\n"
    more = r"9_4.0|x|CANCELLED|n4\n9_5|r-000-00|CANCELLED by 1060117793|None assigned\n9_6|r-000-00|OUT_OF_ME+|n4\n"
    fake("sacct", f"printf '{steps}{more}'")
    rows = commands.history({"9": "r-000-00"}) or []
    assert [(row.index, row.report.reason, row.report.host) for row in rows] == [
        (3, "its job ran over the job's memory (Slurm: OUT_OF_MEMORY)", "n4"),
        (5, "its job was cancelled (Slurm: CANCELLED)", ""),
    ]
    fake("squeue", r"printf '9|0-1%%4|r-000-00|PENDING||None\n9|2|r-000-00|RUNNING|n4|None\n8|N/A|d|PENDING||None\n'")
    assert [(row.job_id, row.index, row.report.state.value) for row in commands.queue()] == [
        ("9", 0, "waiting"), ("9", 1, "waiting"), ("9", 2, "running"), ("8", -1, "waiting"),
    ]  # fmt: skip


def test_what_is_said_of_the_rest_of_an_array_is_said_of_no_other_task(fake: Fake) -> None:
    rest = r"12_[3-5%%4]|r|CANCELLED by 1000|None assigned\n12_[7,20-24:2]|r|CANCELLED by 1000|None assigned\n"
    fake("sacct", rf"printf '{rest}12_0|r|COMPLETED|n1\n12_1|r|NODE_FAIL|n2\n12_2|r|RUNNING|n3\n'")
    rows = commands.history({"12": "r"}) or []
    assert [(row.index, row.report.host) for row in rows] == [
        *((index, "") for index in (3, 4, 5, 7, 20, 22, 24)), (0, "n1"), (1, "n2"),
    ]  # fmt: skip


def test_each_cluster_is_asked_for_itself(fake: Fake, tmp_path: Path) -> None:
    """squeue takes a list of them but does not say in a row which it is of; scancel takes one (scancel(1))."""
    note = f"echo ${{0##*/}} $@ >> {tmp_path}/called"
    row = "{id}|0|r-000-00|RUNNING|n|None"
    answers = f"*clusters=a*) echo 'CLUSTER: a'; echo '{row.format(id=7)}';; *clusters=b*) echo '{row.format(id=7)}';;"
    answers += f" *) echo '{row.format(id=9)}'; echo '9|1|r-000-00|COMPLETED|n|None';;"
    fake("squeue", f'{note}; case "$*" in {answers} esac')
    fake("scancel", note)
    rows = commands.queue(clusters=("", "a", "b"))
    assert [(row.cluster, row.job_id, row.index) for row in rows] == [
        ("", "9", 0), ("", "9", 1), ("a", "7", 0), ("b", "7", 0),
    ]  # fmt: skip
    commands.end(rows)
    called = (tmp_path / "called").read_text().splitlines()
    assert sorted(call for call in called if call.startswith("scancel")) == [
        "scancel --quiet --clusters=a 7", "scancel --quiet --clusters=b 7", "scancel --quiet 9",
    ]  # fmt: skip


def test_accounting_and_settings_are_asked_about_the_cluster_of_the_jobs(fake: Fake) -> None:
    fake("sacct", 'case "$*" in *--clusters=a,b) echo "7_1|new|FAILED|n";; esac')
    assert commands.history({"7": "new"}) == []
    assert [row.index for row in commands.history({"7": "new"}, ("a", "b")) or ()] == [1]
    fake("scontrol", 'case "$1" in --clusters=a) echo "MaxArraySize = 11";; *) echo "MaxArraySize = 1001";; esac')
    assert (commands.largest_array(), commands.largest_array(("b", "a"))) == (1001, 11)
    fake("scontrol", 'echo "MaxArraySize = 0"')
    assert commands.largest_array() == 1, "arrays are switched off: single jobs"
    fake("scontrol", "echo 'MaxArraySize = 100001'; echo 'SchedulerParameters = defer,max_array_tasks=1000,x'")
    assert commands.largest_array() == 1000, "slurm.conf(5): indices up to MaxArraySize, but no more tasks than that"
    fake("scontrol", "echo 'MaxArraySize = 11'; echo 'SchedulerParameters = max_array_tasks=1000'")
    assert commands.largest_array() == 11
    fake("scontrol", 'case "$2" in --clusters=a) echo "PartitionName=p MaxTime=01:00:00 x";; esac')
    assert (commands.longest_minutes("p"), commands.longest_minutes("p", "a")) == (None, 60)


def test_a_job_id_that_came_round_again_is_another_job(fake: Fake) -> None:
    fake("sacct", "echo '7_0|old|COMPLETED|n'; echo '7_1|new|FAILED|n'; echo '7_2|new|RUNNING|n'")
    rows = commands.history({"7": "new"})
    assert rows is not None
    assert [(row.index, row.report.reason) for row in rows] == [(1, "its job failed (Slurm: FAILED)")]


def test_no_accounting_is_no_error(fake: Fake) -> None:
    assert commands.history({"7": "new"}) is None
    fake("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert commands.history({"7": "new"}) is None
    fake("sacct", "echo 'sacct: error: slurm_persist_conn_open: Connection refused' >&2; exit 1")
    with pytest.raises(commands.NoAnswer, match="Connection refused"):
        commands.history({"7": "new"})


def test_the_drivers_own_job_does_not_show_through(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"SLURM_CONF": "/conf", "SLURM_JWT": "key", "SLURM_CONF_SERVER": "c:6817", "SLURM_SACK_SOCKET": "/s"}
    planted = {"SLURM_JOB_ID": "1", "SBATCH_PARTITION": "x", "SQUEUE_FORMAT": "x", "APPTAINER_BIND": "/"}
    planted |= dict.fromkeys(("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"), "0")
    for name, value in {**planted, **kept, "HOME": "/home"}.items():
        monkeypatch.setenv(name, value)
    seen = commands.environment()
    assert not planted.keys() & seen.keys()
    assert seen.items() >= {**kept, "HOME": "/home"}.items()


def test_a_command_that_may_not_be_run_here_is_one_sentence(fake: Fake, tmp_path: Path) -> None:
    """Sites keep users from sbatch on compute nodes."""
    fake("sbatch", "echo 42")
    (tmp_path / "sbatch").chmod(0o644)
    with pytest.raises(EvaluationError, match="you may not run `sbatch` here; run this on a login node"):
        commands.submit(Path("array.sh"))


def test_a_command_that_cannot_be_started_now_is_no_end(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Slurm is updated its commands go, and come back."""
    for name in ("squeue", "sbatch"):
        fake(name, "echo 42")
    assert commands.submit(Path("array.sh")).job_id == "42"
    commands.queue()
    for name in ("squeue", "sbatch"):
        (tmp_path / name).unlink()
    with pytest.raises(commands.NoAnswer, match="squeue cannot be started: No such file"):
        commands.queue()
    assert commands.submit(Path("array.sh")).answer is Answer.LOST

    def refuse(*args: object, **options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(commands.NoAnswer, match="scontrol cannot be started: Resource temporarily unavailable"):
        commands.settings()


def test_without_slurm_the_error_says_where_to_go(fake: Fake) -> None:
    with pytest.raises(EvaluationError, match="no `sbatch` here; run this on a login node"):
        commands.submit(Path("array.sh"))
