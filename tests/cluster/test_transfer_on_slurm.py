"""The transfer of a model as a job array of a real Slurm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.cluster.daemons import wait_until
from support.cluster.slurm import Cluster
from support.paths import ROOT

pytestmark = pytest.mark.slurm

TINY = ("steps=2", "hidden=8", "samples=2", "eval_every=1", "batch_size=2")
LIMITS = ("evaluation.memory_mb=1500", "evaluation.time_limit_s=600")


def command(out: Path) -> list[str]:
    models = [
        str(ROOT / "seeds/clrs_discovered/quad_node_min_max.py"),
        "--baseline",
        str(ROOT / "seeds/clrs/v3_sum.py"),
    ]
    size = ["--algorithms", "bfs,segments_intersect", "--seeds", "2"]
    settings = [part for option in (*(f"task_options.{o}" for o in TINY), *LIMITS) for part in ("--set", option)]
    return [sys.executable, "-m", "evohpc", "transfer", str(out), *models, *size, *settings]


def test_a_job_drives_it_to_the_table_of_this_machine(slurm: Cluster, tmp_path: Path) -> None:
    profile = yaml.safe_load((ROOT / "slurm/local.yaml").read_text())
    profile["scheduler"].update(poll_s=0.5, settle_s=5)
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump(profile))
    here, there = tmp_path / "here", tmp_path / "there"
    subprocess.run(command(here), check=True, capture_output=True)
    subprocess.run([*command(there), "--site", str(site), "--submit"], check=True, capture_output=True)
    wait_until(lambda: not slurm.run("squeue", "--noheader"), "the transfer is over", 1200, every_s=0.5)
    subprocess.run([sys.executable, "-m", "evohpc", "transfer", str(there), "--only-table"], check=True)
    log = (there / "driver.log").read_text()
    assert (there / "table3.csv").read_text() == (here / "table3.csv").read_text(), log
    assert list((there / "rounds/seeds").glob("archive.zip")), log
