"""The sbatch script of a job array, byte for byte."""

from __future__ import annotations

from pathlib import Path

from support.paths import GOLDEN

from evohpc.config.search import EvaluationConfig
from evohpc.config.site import EvaluationJobs, Site
from evohpc.jobs import array_script
from evohpc.jobs.array_script import ArrayShape


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
    script = array_script.text(Path("/scratch/my runs/a/rounds/004/slurm/3f2a-004-00/1"), shape, site, config)
    assert script == (GOLDEN / "array.sh").read_text()


def test_an_empty_profile_asks_for_nothing_but_the_work() -> None:
    site = Site(python="python", evaluation=EvaluationJobs(ask_memory=False, requeue=False))
    script = array_script.text(Path("/r"), ArrayShape("n", 1, 1), site, EvaluationConfig())
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
