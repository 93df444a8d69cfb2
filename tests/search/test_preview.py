"""The preview shows what a search submits: the same jobs, arrays, scripts and names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, Literal

import pytest
from support.paths import MNIST1D_SEEDS

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.lm import LMConfig
from evohpc.config.rungs import Rung
from evohpc.config.search import Config, SearchConfig
from evohpc.config.site import ContainerSection, LMJobs, SchedulerSection, Site
from evohpc.errors import ConfigError
from evohpc.evaluation.benchmark import WORKER
from evohpc.evolution.population import Budget
from evohpc.lm_job.slurm import SlurmLMJob
from evohpc.run_folder import RunDir
from evohpc.search import driving, preview

RUN = RunDir(Path("/runs/a"))
SEEDS = len(list(MNIST1D_SEEDS.glob("*.py")))


def config(lm: LMConfig | None = None, evaluation: EvaluationConfig | None = None, **search: Any) -> Config:
    return Config(
        seeds=MNIST1D_SEEDS,
        search=SearchConfig(**search),
        lm=lm or LMConfig(engine="scripted"),
        evaluation=evaluation or EvaluationConfig(),
    )


def arrays(shown: str) -> dict[str, int]:
    """Return the number of tasks of each array that a preview shows, by the round's folder."""
    found = re.findall(r"^# sbatch /runs/a/rounds/(\w+)/[^\n]*array\.sh.*?^#SBATCH --array=0-(\d+)", shown, re.M | re.S)
    return {round: int(last) + 1 for round, last in found}


def test_every_script_and_the_apptainer_command_are_shown() -> None:
    site = Site(python="python3", container=ContainerSection(image=Path("/images/eval.sif"), gpu="nv"))
    given = config(evaluation=EvaluationConfig(runtime="apptainer"))
    shown = preview.text(RUN, "a-1", site, given)
    assert shown.count("#!/bin/bash") == 3
    assert arrays(shown) == {"seeds": SEEDS, "000": 160}
    command = shlex.split(shown.rpartition("# for a candidate\n")[2])
    assert {"--containall", "--nv", "/runs/a/data/train.safetensors:/in/shared/0:ro"} <= set(command)
    assert command[-2:] == ["evohpc.sandbox.apptainer_server", WORKER]


@pytest.mark.parametrize(
    ("search", "children"),
    [({"variant": "evoprompting"}, 160), ({"variant": "naive"}, 1600), ({"variant": "naive", "rounds": 3}, 480)],
)
def test_the_array_of_a_round_has_as_many_tasks_as_the_budget_has_children(
    search: dict[str, Any], children: int
) -> None:
    given = config(**search)
    assert Budget.of(given.search).per_round == children
    assert arrays(preview.text(RUN, "a-1", Site(), given)) == {"seeds": SEEDS, "000": children}


def test_without_a_round_only_the_seeds_are_submitted() -> None:
    given = config(lm=LMConfig(path=Path("/m")), rounds=0)
    shown = preview.text(RUN, "a-1", Site(lm=LMJobs()), given)
    assert arrays(shown) == {"seeds": SEEDS}
    assert "lm.sbatch" not in shown


def test_several_candidates_in_a_task_take_fewer_tasks_and_as_much_time_as_the_fullest() -> None:
    evaluation = EvaluationConfig(candidates_per_task=50, time_limit_s=600)
    given = config(evaluation=evaluation)
    shown = preview.text(RUN, "a-1", Site(), given)
    assert arrays(shown) == {"seeds": 1, "000": 4}
    seeds, children = re.findall(r"^#SBATCH --array=.*?^#SBATCH --time=(\d+)", shown, re.M | re.S)
    assert int(children) - int(seeds) == (50 - SEEDS) * 10


def test_a_limit_on_queued_jobs_splits_the_array_that_is_shown() -> None:
    site = Site(scheduler=SchedulerSection(max_queued=48))
    shown = preview.text(RUN, "a-1", site, config())
    assert arrays(shown)["000"] == 48
    assert "slurm/a-1-000-00/0/array.sh   (the first of 4 arrays; " in shown
    assert "--job-name=a-1-000-00.0\n" in shown


@pytest.mark.parametrize("engine", ["deepspeed", "vllm"])
@pytest.mark.parametrize(
    ("hold", "sbatch"),
    [(False, "/runs/a/rounds/000/slurm/a-1-000-lm/0/lm.sbatch"), (True, "/runs/a/slurm/a-1-lm/0/lm.sbatch")],
)
def test_the_language_models_job_is_shown(hold: bool, sbatch: str, engine: Literal["deepspeed", "vllm"]) -> None:
    given = config(lm=LMConfig(path=Path("/m"), engine=engine))
    shown = preview.text(RUN, "a-1", Site(lm=LMJobs(hold=hold)), given)
    assert f"# sbatch {sbatch}\n#!/bin/bash" in shown
    assert ("evohpc.lm.serve" in shown) is hold


@pytest.mark.parametrize("engine", ["deepspeed", "vllm", "scripted"])
@pytest.mark.parametrize("jobs", [None, LMJobs()])
def test_it_is_shown_if_a_search_has_one(
    tmp_path: Path, engine: Literal["deepspeed", "vllm", "scripted"], jobs: LMJobs | None
) -> None:
    given, site = config(lm=LMConfig(path=Path("/m"), engine=engine)), Site(lm=jobs)
    run = RunDir(tmp_path)
    has_job = isinstance(driving.lm_job(run, given, site), SlurmLMJob)
    assert (preview.lm_work(run, "a-1", site, given) is not None) is has_job


def test_seeds_that_are_not_there_are_named_as_when_the_run_is_made(tmp_path: Path) -> None:
    given = config().model_copy(update={"seeds": tmp_path})
    with pytest.raises(ConfigError, match=r"has no \*\.py file; it is the folder of the seed programs"):
        preview.text(RUN, "a-1", Site(), given)


def test_rungs_are_announced_with_the_array_of_the_children_alone() -> None:
    lower = (Rung(keep=0.5, task_options={"steps": 2}), Rung(keep=0.5, task_options={"steps": 4}))
    shown = preview.text(RUN, "a-1", Site(), config(evaluation=EvaluationConfig(rungs=lower)))
    assert (
        len([line for line in shown.splitlines() if "rounds/000" in line and "each of 2 more trainings" in line]) == 1
    )
    assert shown.count("more trainings") == 1
