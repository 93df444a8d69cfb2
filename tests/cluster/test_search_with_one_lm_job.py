"""A whole search on a real Slurm whose rounds are all answered by one LM job, though its driver is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.cluster.daemons import wait_until
from support.cluster.slurm import Cluster
from support.evaluating import HONEST

from evohpc.config.search import load_config
from evohpc.config.site import DriverJob, EvaluationJobs, LMJobs, SchedulerSection, Site
from evohpc.run_folder import RunDir
from evohpc.search.search import Search
from evohpc.slurm.script import CLAIM

pytestmark = pytest.mark.slurm

SEARCH = {
    "task": "mnist1d",
    "task_options": {"steps": 20, "eval_every": 10, "validate_on": "published"},
    "seeds": "seeds",
    "lm": {"max_new_tokens": 16, "threads": 1},
    "search": {
        "rounds": 2,
        "error_threshold": 1.0,
        "prompts_per_round": 1,
        "samples_per_prompt": 2,
        "examples_per_prompt": 1,
    },
    "evaluation": {"minimum_isolation": "process", "memory_mb": 1500, "time_limit_s": 600},
}


def make_search(folder: Path, model: Path) -> None:
    """Make a run folder of a search of seconds."""
    (folder / "seeds").mkdir()
    (folder / "seeds" / "linear.py").write_text(HONEST)
    (folder / "config.yaml").write_text(json.dumps({**SEARCH, "lm": {**SEARCH["lm"], "path": str(model)}}))  # type: ignore[dict-item]
    site = Site(
        scheduler=SchedulerSection(poll_s=0.5, poll_max_s=1, submit_every_s=0, settle_s=60, grace_s=1),
        evaluation=EvaluationJobs(extra_memory_mb=512),
        driver=DriverJob(memory_mb=1024),
        lm=LMJobs(cpus=2, memory_mb=3000, hold=True),
    )
    Search.create(folder / "run", load_config(folder / "config.yaml"), site=site)


def test_one_lm_job_answers_all_rounds_of_drivers_that_are_killed(
    slurm: Cluster, tiny_model: Path, tmp_path: Path
) -> None:
    make_search(tmp_path, tiny_model)
    run, drive = RunDir(tmp_path / "run"), [sys.executable, "-m", "evohpc", "run", str(tmp_path / "run")]
    for number in (0, 1):
        request = run.round(number).request
        with subprocess.Popen(drive, stderr=subprocess.DEVNULL) as driver:
            wait_until(lambda: request.exists() or driver.poll() is not None, "it asks")  # noqa: B023
            driver.kill()
        assert request.exists()
    subprocess.run(drive, check=True, capture_output=True, timeout=1200)
    wait_until(lambda: "-lm." not in slurm.run("squeue", "--noheader", "--format=%j"), "the LM job is released")
    (job,) = run.slurm.glob("*-lm/*")
    job_id = os.readlink(job / CLAIM)  # sbatch's own answer is lost if the driver was killed while it asked
    for number in (0, 1):
        with zipfile.ZipFile(run.round(number).archive) as archive:
            log = archive.read("logs/lm.log").decode()
        assert log.startswith(f"job {job_id} starts on ")
        assert log.count("starts on") == 1
