"""A node on which attempts fail again and again gets no more of them; Slurm's commands are shell scripts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.rows import candidate
from support.searching import make_config

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.site import EvaluationJobs, Site
from evohpc.errors import EvaluationError
from evohpc.jobs.excluded_nodes import excluded_nodes
from evohpc.jobs.slurm import SlurmRunner
from evohpc.messages import Attempt, EvaluationJob, Result, Status, TaskState
from evohpc.run_folder import RunDir
from evohpc.search import driving
from evohpc.store.store import Store

SBATCH = """cat "$2" > {folder}/got.$(ls {folder} | grep -c got)
grep -q 'exclude=n2' "$2" && {then}
echo 7"""


@pytest.fixture
def bin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of a cluster of four nodes, two of them in the default partition."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    _write(folder / "sinfo", r"printf 'n1|main*\nn2|main*\nn3|gpu\nn4|gpu\nn2|gpu\n'")
    _write(folder / "scontrol", "echo 'MaxArraySize = 1001'")
    return folder


def _write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("partition", "faulty", "excluded"),
    [
        ("", ("n2",), ("n2",)),
        ("", ("n2", "n1"), ("n2",)),
        ("", ("n3", "laptop"), ()),
        ("main,gpu", ("n4", "n2", "n1"), ("n4", "n2")),
        ("", (), ()),
    ],
)
def test_known_nodes_are_excluded_and_at_most_half_of_them(
    bin: Path, partition: str, faulty: Sequence[str], excluded: tuple[str, ...]
) -> None:
    assert excluded_nodes(faulty, EvaluationJobs(partition=partition)) == excluded
    assert excluded_nodes(faulty, EvaluationJobs(options={"partition": partition} if partition else {})) == excluded


@pytest.mark.parametrize("options", [{"clusters": "a,b"}, {"exclude": "/etc/nodes"}])
def test_what_cannot_be_excluded_is_not(bin: Path, options: dict[str, str | int | bool]) -> None:
    assert excluded_nodes(["n2"], EvaluationJobs(options=options)) == ()


@pytest.mark.parametrize("answer", ["echo down >&2; exit 1", None])
def test_without_an_answer_none_is_excluded(bin: Path, answer: str | None, caplog: pytest.LogCaptureFixture) -> None:
    (bin / "sinfo").unlink()
    if answer is not None:
        _write(bin / "sinfo", answer)
    assert excluded_nodes(["n2"], EvaluationJobs()) == ()
    assert "none is excluded this time" in caplog.text


def test_the_next_array_is_submitted_without_the_node(
    bin: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write(bin / "sbatch", SBATCH.format(folder=tmp_path, then=":"))
    with closing(Store(tmp_path / "search.db", epoch=1)) as store, caplog.at_level(logging.WARNING):
        store.add_candidates([candidate("c")])
        for attempt in (1, 2, 3):
            assert "exclude" not in _submitted(tmp_path, store, 3, attempt)
            store.add_results(
                [Result("c", attempt, Status.LOST, host="n2", finished_at=f"2026-11-26T10:00:0{attempt}")]
            )
        assert _submitted(tmp_path, store, 3, 4).splitlines().count("#SBATCH --exclude=n2") == 1
        assert _submitted(tmp_path, store, 3, 5) == _submitted(tmp_path, store, 3, 6).replace("-06", "-05")
        assert "exclude" not in _submitted(tmp_path, store, 0, 7)
    said = [record.message for record in caplog.records]
    assert said == [f"run1-000-0{number}: not on n2: repeated machine faults there" for number in (4, 5, 6)]


def test_an_array_that_slurm_refuses_without_the_node_is_submitted_with_it(
    bin: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = "{{ echo 'sbatch: error: Requested node configuration is not available' >&2; exit 1; }}"
    _write(bin / "sbatch", SBATCH.format(folder=tmp_path, then=refusal.format()))
    _submit(tmp_path, lambda: ["n2"], 0)
    assert "exclude=n2" in (tmp_path / "got.0").read_text()
    assert "exclude" not in (tmp_path / "got.1").read_text()
    assert "refused without n2" in caplog.text
    _write(bin / "sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    with pytest.raises(EvaluationError, match="invalid partition"):
        _submit(tmp_path, lambda: ["n2"], 1)


@pytest.fixture
def queue(bin: Path, tmp_path: Path) -> Path:
    """What scontrol is told to change; the queue has an array with a task that runs and one that waits."""
    _write(bin / "sbatch", f'case "$1" in --parsable) echo 7;; *) cat > {tmp_path}/tested;; esac')
    _write(bin / "squeue", "printf '7|0|run1-000-00|RUNNING|n2|None\\n7|1|run1-000-00|PENDING||Resources\\n'")
    said = r"printf '7_0: Job is no longer pending execution\n7_1: No error\n' >&2; exit 1"
    change = f'echo "$2 $3" >> {tmp_path}/changed; {said}'
    _write(bin / "scontrol", f'case "$1" in update) {change};; *) echo "MaxArraySize = 1001";; esac')
    (tmp_path / "changed").touch()
    return tmp_path / "changed"


def test_what_waits_in_the_queue_is_kept_away_from_a_node_that_turned_out_faulty(
    queue: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    faulty: list[str] = []
    now = [0.0]
    site = Site(evaluation=EvaluationJobs(options={"exclude": "n[7-9]"}))
    runner = SlurmRunner(tmp_path, site, EvaluationConfig(), clock=lambda: now[0], faulty=lambda: faulty)
    runner.submit(TWO)
    for nodes, changed in (([], []), (["n2"], ["n[7-9],n2"]), (["n2"], []), (["n2", "n1"], []), ([], ["n[7-9]"])):
        faulty[:] = nodes
        now[0] += 1000
        runner.poll({TWO.name: 2})
        assert queue.read_text().split("\n")[:-1] == [f"JobId=7 ExcNodeList={exclude}" for exclude in changed], nodes
        queue.write_text("")
    assert "#SBATCH --exclude='n[7-9]'\n" in (tmp_path / "tested").read_text()
    assert [record.message for record in caplog.records if "what waits of it" in record.message] == [
        "run1-000-00: what waits of it is kept away from n2: repeated machine faults there",
        "run1-000-00: what waits of it is kept away from no node any more",
    ]


def test_so_does_the_next_driver_and_no_array_that_excludes_it_is_changed(queue: Path, tmp_path: Path) -> None:
    first = SlurmRunner(tmp_path, Site(), EvaluationConfig(), faulty=lambda: ["n2"])
    first.submit(TWO)
    first.poll({TWO.name: 2})
    assert queue.read_text() == ""
    following = SlurmRunner(tmp_path, Site(), EvaluationConfig(), faulty=lambda: ["n2"])
    following.submit(TWO)
    following.poll({TWO.name: 2})
    assert queue.read_text() == "JobId=7 ExcNodeList=n2\n"


@pytest.mark.parametrize(
    ("command", "answer", "said"),
    [
        ("scontrol", "echo '7_1: Access/permission denied' >&2; exit 1", "7_1: Access/permission denied"),
        (
            "sbatch",
            "echo 'allocation failure: Requested node configuration is not available' >&2; exit 1",
            "no other node would do",
        ),
    ],
)
def test_a_site_that_refuses_it_is_told_of_and_goes_on(
    queue: Path, bin: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, command: str, answer: str, said: str
) -> None:
    faulty: list[str] = []
    runner = SlurmRunner(tmp_path, Site(), EvaluationConfig(), faulty=lambda: faulty)
    runner.submit(TWO)
    faulty.append("n2")
    _write(bin / command, answer)
    assert [report.state for report in runner.poll({TWO.name: 2})[TWO.name]] == [TaskState.RUNNING, TaskState.WAITING]
    assert f"run1-000-00: what waits of it is not kept away from n2 ({said})" in caplog.text
    assert queue.read_text() == ""


JOB = EvaluationJob("run1-000-00", 0, ((Attempt("r000p00s000", 1),),))
TWO = replace(JOB, tasks=((Attempt("r000p00s000", 1),), (Attempt("r000p00s001", 1),)))


def _submit(folder: Path, faulty: Callable[[], Sequence[str]], number: int) -> None:
    job = replace(JOB, name=f"run1-000-{number:02}")
    SlurmRunner(folder, Site(), EvaluationConfig(), faulty=faulty).submit(job)


def _submitted(folder: Path, store: Store, after: int, number: int) -> str:
    """Return the script of a job that a search with these results submits."""
    job = replace(JOB, name=f"run1-000-{number:02}")
    site = Site(evaluation=EvaluationJobs(exclude_after=after))
    driving.job_runner(RunDir(folder), make_config(folder), site, store).submit(job)
    return (RunDir(folder).round(0).slurm / job.name / "0/array.sh").read_text()
