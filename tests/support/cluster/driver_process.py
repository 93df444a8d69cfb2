"""A driver to be killed: submits one EvaluationJob and polls until it is over. `python driver_process.py SPEC SIZE`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from evohpc.config.search import EvaluationConfig
from evohpc.config.site import load_site
from evohpc.jobs.slurm import SlurmRunner
from evohpc.messages import TaskState
from support.cluster.work import trace


def main() -> None:
    """Drive it."""
    spec, size, site = Path(sys.argv[1]), int(sys.argv[2]), load_site(sys.argv[3])
    runner = SlurmRunner(spec.parents[3], site, EvaluationConfig(), work=trace)
    runner.submit(spec, spec.stem, size)
    while not all(report.state is TaskState.ENDED for report in runner.poll({spec.stem: size})[spec.stem]):
        time.sleep(0.1)


if __name__ == "__main__":
    main()
