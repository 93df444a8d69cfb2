"""The script of an LM job, run by a shell where srun is a script."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.cluster.unkind import UNKIND

from evohpc.config.site import LMJobs, Site
from evohpc.lm_job import script as lm_script
from evohpc.run_folder import RoundDir


@pytest.mark.parametrize("image", [None, Path("/images/lm.sif")])
@pytest.mark.parametrize("setup", [line for line in UNKIND if "PATH" not in line])
def test_no_line_of_setup_keeps_the_step_from_its_start(tmp_path: Path, setup: str, image: Path | None) -> None:
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\necho "$SEEN $@" > {tmp_path}/stepped\n')
    srun.chmod(0o755)
    work = lm_script.work_of(RoundDir(tmp_path / "rounds" / "000"), "r", 0, Path("/model"))
    work.folder.mkdir(parents=True)
    text = lm_script.text(work, Site(lm=LMJobs(setup=("export SEEN=yes", setup), image=image)))
    environment = {**os.environ, "PATH": f"{srun.parent}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", "-c", text], env=environment, capture_output=True, text=True)
    assert (tmp_path / "stepped").read_text().startswith("yes --export=ALL"), done.stderr
    assert done.stdout.startswith("job 7 starts on ")
