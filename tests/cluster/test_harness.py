"""The harness itself: what the other cluster tests rely on."""

from __future__ import annotations

import pytest
from support.cluster.daemons import lives, wait_until
from support.cluster.slurm import Cluster

pytestmark = pytest.mark.slurm


def test_a_job_runs_on_each_node(slurm: Cluster) -> None:
    assert sorted(slurm.run("srun", "--nodes=4", "printenv", "SLURMD_NODENAME").split()) == ["n1", "n2", "n3", "n4"]


def test_sacct_remembers_what_the_controller_forgot(slurm_with_accounting: Cluster) -> None:
    job = slurm_with_accounting.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=false || true")
    show = ["sacct", "-X", "-n", "-P", "--format=State", f"--jobs={job.strip()}"]
    wait_until(lambda: not slurm_with_accounting.run("squeue", "--noheader", "--states=all"), "Slurm forgot")
    wait_until(lambda: slurm_with_accounting.run(*show).strip() == "COMPLETED", "sacct says COMPLETED")


@pytest.mark.usefixtures("bare_cluster")
def test_down_leaves_no_process() -> None:
    with Cluster(nodes=1) as cluster:
        pids = [int(file.read_text()) for file in (cluster.folder / "run").glob("*.pid")]
        cluster.run("sbatch", "--output=/dev/null", "--wrap=sleep 300")
    assert len(pids) == 2
    assert not any(lives(pid) for pid in pids)
    assert not cluster.folder.exists()
