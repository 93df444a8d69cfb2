"""A driver to be killed: submits the job in SPEC and polls to its end. `python driver_process.py SPEC PROFILE`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from evohpc import envelopes
from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.site import load_site
from evohpc.jobs.slurm import SlurmRunner
from evohpc.messages import EvaluationJob, TaskState
from support.cluster.work import trace


def main() -> None:
    """Drive it."""
    spec, site = Path(sys.argv[1]), load_site(sys.argv[2])
    job = envelopes.unseal(spec.read_bytes(), "run1", EvaluationJob)
    runner = SlurmRunner(spec.parents[3], site, EvaluationConfig(), work=trace)
    runner.submit(job)
    while not all(report.state is TaskState.ENDED for report in runner.poll({job.name: len(job.tasks)})[job.name]):
        time.sleep(0.1)


if __name__ == "__main__":
    main()
