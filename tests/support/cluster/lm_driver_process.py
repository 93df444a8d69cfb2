"""A driver to be killed: has one request answered. `python lm_driver_process.py REQUEST PROFILE PROGRAM...`."""

from __future__ import annotations

import sys
import time

from evohpc.config.site import load_site
from evohpc.lm_job.slurm import SlurmLMJob
from evohpc.run_folder import RoundDir


def main() -> None:
    """Drive it."""
    round = RoundDir.of_request(sys.argv[1])
    job = SlurmLMJob(round.run.path, load_site(sys.argv[2]), program=sys.argv[3:])
    job.start(round)
    print("submitted", flush=True)
    while not job.poll():
        time.sleep(0.1)


if __name__ == "__main__":
    main()
