"""What a job array runs, started as Slurm starts it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.cluster import work
from support.paths import TESTS

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.site import Site
from evohpc.jobs import array_script, array_task
from evohpc.jobs.array_script import ArrayShape
from evohpc.jobs.array_task import Work


@pytest.mark.parametrize(("does", "code"), [(work.finish_the_round, 0), (work.trace, 0), (work.die, 137)])
def test_a_task_succeeds_if_its_work_did_though_the_round_is_packed_meanwhile(
    tmp_path: Path, does: Work, code: int
) -> None:
    folder = tmp_path / "rounds/000/slurm/n/0"
    command = array_task.command(does, tmp_path, 0, "n", 0)
    folder.mkdir(parents=True)
    script = array_script.text(folder, ArrayShape("n", 1, 1), command, Site(), EvaluationConfig())
    slurm = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0", "SLURMD_NODENAME": "n1"}
    environment = {**os.environ, **slurm, "PYTHONPATH": f"{TESTS}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(["bash"], input=script, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert folder.exists() == (does is not work.finish_the_round)
    assert {path.name for path in folder.glob("*")} <= {"claim"}, "a task leaves nothing of its own"
