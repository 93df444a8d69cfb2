"""Which nodes there are, and what waits is kept away from; Slurm's commands are shell scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from evohpc.slurm import nodes
from evohpc.slurm.commands import NoAnswer


@pytest.fixture
def bin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def _write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_nodes_that_a_job_may_get(bin: Path) -> None:
    shown = r"n1|main*\nn2|main*\nn2|gpu\nn3|gpu\nn4|long\n"
    _write(bin / "sinfo", rf"case $5 in --clusters=a) echo 'a1|main*';; '') printf '{shown}';; esac")
    assert nodes.names() == {"n1", "n2"}
    assert nodes.names("gpu,long") == {"n2", "n3", "n4"}
    assert nodes.names(cluster="a") == {"a1"}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "1_0-1: Job is no longer pending execution\n1_2-5: No error\n",
        "4_0-1: Job is no longer pending execution\n",
        "Job is no longer pending execution for job 6\n",
        "Invalid job id specified for job 9999\n",
    ],
)
def test_what_runs_already_is_no_obstacle(bin: Path, answer: str) -> None:
    """As Slurm 22.05 answered."""
    _write(bin / "scontrol", f"echo \"$*\" > {bin}/called; printf '{answer}' >&2; exit {int(bool(answer))}")
    nodes.exclude("1", "n2,n[4-7]")
    assert (bin / "called").read_text() == "update JobId=1 ExcNodeList=n2,n[4-7]\n"
    nodes.exclude("1", "", "alpha")
    assert (bin / "called").read_text() == "--clusters=alpha update JobId=1 ExcNodeList=\n"


@pytest.mark.parametrize(
    "answer",
    [
        "1_0-1: Job is no longer pending execution\n1_2-5: Invalid node name specified\n",
        "1_0-5: Access/permission denied\n",
        "Access/permission denied for job 6\n",
        "slurm_update error: Unable to contact slurm controller (connect failure)\n",
    ],
)
def test_a_refusal_is_one(bin: Path, answer: str) -> None:
    _write(bin / "scontrol", f"printf '{answer}' >&2; exit 1")
    with pytest.raises(NoAnswer):
        nodes.exclude("1", "n9")


def test_a_job_for_which_no_node_is_left(bin: Path) -> None:
    _write(bin / "sbatch", "echo 'allocation failure: Requested node configuration is not available' >&2; exit 1")
    assert not nodes.are_enough("#!/bin/sh")
    _write(bin / "sbatch", "echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2; exit 1")
    assert nodes.are_enough("#!/bin/sh")
