"""The sbatch script of a job array, byte for byte."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.cluster.unkind import UNKIND
from support.paths import GOLDEN

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.site import EvaluationJobs, Site
from evohpc.evaluation.worker import run_array_task
from evohpc.jobs import array_script, array_task
from evohpc.jobs.array_script import ArrayShape

COMMAND = ("-c", "pass")


def test_the_whole_script() -> None:
    site = Site(
        python="/sw/venv/bin/python",
        evaluation=EvaluationJobs(
            partition="gpu",
            account="proj1",
            qos="normal",
            gres="gpu:a100:1",
            max_parallel=8,
            options={"mail-type": "FAIL", "exclusive": True},
            setup=("module load apptainer",),
        ),
    )
    config = EvaluationConfig(time_limit_s=600, memory_mb=8192, threads=4)
    shape = ArrayShape("3f2a-004-00.1", size=500, candidates=3)
    command = array_task.command(run_array_task, Path("/scratch/my runs/a"), 4, "3f2a-004-00", 1000)
    script = array_script.text(Path("/scratch/my runs/a/rounds/004/slurm/3f2a-004-00/1"), shape, command, site, config)
    assert script == (GOLDEN / "array.sh").read_text()


def test_an_empty_profile_asks_for_nothing_but_the_work() -> None:
    site = Site(python="python", evaluation=EvaluationJobs(ask_memory=False, requeue=False))
    script = array_script.text(Path("/r"), ArrayShape("n", 1, 1), COMMAND, site, EvaluationConfig())
    options = {line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")}
    assert options == {
        "array=0-0%1",
        "cpus-per-task=1",
        "job-name=n",
        "no-requeue",
        "nodes=1",
        "ntasks-per-node=1",
        "open-mode=append",
        "output=/r/%A_%a_0_log.out",
        "signal=USR2@0",
        "time=35",
    }


@pytest.mark.parametrize(("candidates", "asked"), [(12, (8, 20000, 35)), (2, (4, 10000, 15)), (1, (2, 5000, 15))])
def test_a_task_asks_for_all_that_run_at_once_and_for_no_more(candidates: int, asked: tuple[int, int, int]) -> None:
    site = Site(python="python", evaluation=EvaluationJobs(extra_memory_mb=1000))
    config = EvaluationConfig(threads=2, memory_mb=4000, time_limit_s=600, candidates_per_task=12, candidates_at_once=4)
    script = array_script.text(Path("/r"), ArrayShape("n", 1, candidates), COMMAND, site, config)
    cores, megabytes, minutes = asked
    lines = set(script.splitlines())
    assert {f"#SBATCH --cpus-per-task={cores}", f"#SBATCH --mem={megabytes}M", f"#SBATCH --time={minutes}"} <= lines


@pytest.mark.parametrize(
    ("given", "option"), [({}, "exclude=n13,n14"), ({"exclude": "n[1-3]"}, "exclude='n[1-3],n13,n14'")]
)
def test_excluded_nodes_are_added_to_those_of_the_site(given: dict[str, str | int | bool], option: str) -> None:
    site = Site(python="python", evaluation=EvaluationJobs(options=given))
    plain, script = (
        array_script.text(Path("/r"), ArrayShape("n", 1, 1), COMMAND, site, EvaluationConfig(), excluded).splitlines()
        for excluded in ((), ("n13", "n14"))
    )
    assert [line for line in script if line not in plain] == [f"#SBATCH --{option}"]
    assert len([line for line in script if "--exclude=" in line]) == 1


@pytest.mark.parametrize("setup", [*UNKIND, "exit 3", "if"])
def test_no_line_of_setup_changes_how_an_array_task_ends(tmp_path: Path, setup: str) -> None:
    python, began = tmp_path / "python", tmp_path / "began"
    python.write_text(f"#!/bin/sh\n: > {began}\nexit 5\n")
    python.chmod(0o755)
    site = Site(python=str(python), evaluation=EvaluationJobs(setup=(setup,)))
    script = array_script.text(tmp_path, ArrayShape("n", 1, 1), COMMAND, site, EvaluationConfig())
    task = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
    done = subprocess.run(["bash", "-c", script], env={**os.environ, **task}, stderr=subprocess.DEVNULL)
    fails = setup in ("exit 3", "if")
    assert (done.returncode != 5, began.exists()) == (fails, not fails)
