"""A stand-in for Slurm: its commands as shell scripts, and its nodes, which work while a driver waits."""

from __future__ import annotations

import os
from pathlib import Path

from evohpc import envelopes
from evohpc.lm_job.scripted import ScriptedLMJob
from evohpc.messages import EvaluationJob
from evohpc.run_folder import RoundDir, RunDir
from evohpc.slurm.script import CLAIM
from support.driving import RUN_ID, Clock, InstantRunner

_COMMANDS = {
    "sbatch": """
script=${!#} id=$(($(ls {jobs} | wc -l) + 1))
name=$(sed -n 's/^#SBATCH --job-name=//p' "$script" | tr -d '"'"'")
printf '%s\\n' PENDING "$name" "$script" > {jobs}/$id; echo $id
""",
    "squeue": """
for job in {jobs}/*; do [ -e "$job" ] && { read -r state; read -r name; } < "$job" &&
echo "${job##*/}|N/A|$name|$state||None"; done; true
""",
    "scontrol": "echo 'MaxArraySize = 1001'",
}


class StandIn(Clock):
    """A cluster that evaluates by arithmetic, as `InstantRunner` does, and completes by rules; also the
    clock and the patience of its driver.

    As the scripts of jobs do, a job that finds the claim of another ends without any work.
    """

    def __init__(self, run: RunDir, folder: Path) -> None:
        super().__init__()
        self._run, self.bin, self._jobs = run, folder / "bin", folder / "jobs"
        self.worked: list[str] = []
        """Of each job that has done its work: its name."""
        self._nodes = InstantRunner(run)
        for path in (self.bin, self._jobs):
            path.mkdir(parents=True)
        for name, script in _COMMANDS.items():
            (self.bin / name).write_text(f"#!/bin/bash\n{script.replace('{jobs}', str(self._jobs))}")
            (self.bin / name).chmod(0o755)

    @property
    def submitted(self) -> int:
        """How many jobs sbatch has taken."""
        return len(os.listdir(self._jobs))

    def __call__(self, seconds: float) -> bool:
        for job in self._jobs.iterdir():
            state, name, script = job.read_text().splitlines()
            if state == "PENDING":
                self._work(job.name, name, Path(script).parent)
                job.write_text(f"COMPLETED\n{name}\n{script}\n")
        return super().__call__(seconds)

    def _work(self, job_id: str, name: str, folder: Path) -> None:
        try:
            (folder / CLAIM).symlink_to(job_id)
        except FileExistsError:
            return
        round = RoundDir(folder.parents[2])
        if name.partition(".")[0].endswith("-lm"):
            ScriptedLMJob().start(round)
        else:
            job = envelopes.unseal(round.job(name).read_bytes(), RUN_ID, EvaluationJob)
            for task in job.tasks:
                self._nodes.evaluate(job.round, task)
        self.worked.append(name)
