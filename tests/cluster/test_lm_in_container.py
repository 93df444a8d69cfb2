"""An LM job on a real Slurm, under torchrun, in the image that containers/build.sh builds."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cluster.daemons import wait_until
from support.cluster.slurm import Cluster
from support.requests import prompts, request, write

from evohpc.config.site import ContainerSection, LMJobs, SchedulerSection, Site
from evohpc.lm_job.local import LocalLMJob
from evohpc.lm_job.slurm import SlurmLMJob
from evohpc.messages import Tuning, TuningExample
from evohpc.run_folder import RoundDir

pytestmark = pytest.mark.slurm

PROMPT = "class Model(nn.Module):\n    def __init__(self):\n"


def ask(run: Path, model: Path) -> RoundDir:
    """Write a request that tunes and generates."""
    example = TuningExample("r000p00s000", PROMPT, "        self.out = nn.LazyLinear(10)\n")
    tuning = Tuning((example, example), 4, epochs=2, batch_size=2, learning_rate=0.1, seed=7, start_from=None)
    return write(run, request(model, round=1, tuning=tuning, prompts=prompts([PROMPT] * 2)))


@pytest.mark.parametrize("hold", [False, True], ids=["a round's job", "the run's job"])
def test_it_tunes_and_answers_as_on_this_machine(
    slurm: Cluster, built_lm: ContainerSection, tiny_model: Path, tmp_path: Path, hold: bool
) -> None:
    here, there = ask(tmp_path / "here", tiny_model), ask(tmp_path / "a run's folder", tiny_model)
    local = LocalLMJob()
    local.start(here)
    wait_until(local.poll, "the request is answered")
    jobs = LMJobs(cpus=2, memory_mb=3000, processes=2, image=built_lm.image, hold=hold, idle_minutes=0.01)
    scheduler = SchedulerSection(poll_s=0.5, submit_every_s=0, settle_s=3, grace_s=1)
    site = Site(scheduler=scheduler, lm=jobs, container=built_lm.model_copy(update={"image": None}))
    job = SlurmLMJob(there.path.parents[1], site)
    job.start(there)
    wait_until(job.poll, "the request is answered", 900)
    assert there.adapter.is_dir()
    assert there.completions.read_bytes() == here.completions.read_bytes()
    wait_until(lambda: len([*tmp_path.glob("*/slurm/*-lm/0/end")]) == hold, "the run's job leaves, and says so")
