"""A driver on Slurm that is killed before or after any process that it starts, sbatch above all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.driving import CONFIG, Driving, drive, make_run
from support.killing import Killed, declare_dead, mortal_when_spawning
from support.slurm_standin import StandIn
from support.tally import Tally

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.site import LMJobs, SchedulerSection, Site
from evohpc.jobs.slurm import SlurmRunner
from evohpc.lm_job.slurm import SlurmLMJob

SMALL = CONFIG.replace("rounds: 3, prompts_per_round: 2", "rounds: 2, prompts_per_round: 1")
SITE = Site(lm=LMJobs(), scheduler=SchedulerSection(poll_s=1, poll_max_s=1, submit_every_s=0, settle_s=5))


class World:
    """A small search on the stand-in."""

    def __init__(self, folder: Path) -> None:
        self.run = make_run(folder / "run", SMALL, seeds=(8, 16))
        self.cluster = StandIn(self.run, folder)

    def parts(self) -> dict[str, Any]:
        """Return what a new driver process has of its own."""
        runner = SlurmRunner(self.run.path, SITE, EvaluationConfig(), clock=lambda: self.cluster.now)
        lm = SlurmLMJob(self.run.path, SITE, clock=lambda: self.cluster.now)
        return {"runner": runner, "lm": lm, "wait": self.cluster}


def on_path(patch: pytest.MonkeyPatch, world: World) -> None:
    patch.setenv("PATH", f"{world.cluster.bin}:{os.defpath}")


def undisturbed(folder: Path) -> tuple[dict[str, Any], World, list[str], int]:
    world = World(folder)
    with pytest.MonkeyPatch.context() as patch, mortal_when_spawning() as spawns:
        on_path(patch, world)
        return drive(world.run, **world.parts()), world, spawns.commands, spawns.taken


def killed_and_resumed(folder: Path, step: int) -> tuple[dict[str, Any], World]:
    world = World(folder)
    with pytest.MonkeyPatch.context() as patch:
        on_path(patch, world)
        with mortal_when_spawning(step) as spawns, suppress(Killed):
            Driving(world.run, **world.parts()).driver.drive()
        assert spawns.is_dead
        declare_dead(world.run)
        with mortal_when_spawning():
            return drive(world.run, **world.parts()), world


@pytest.mark.slow
def test_killed_around_any_command_of_slurm_it_ends_in_the_same_tables(tmp_path: Path, tally: Tally) -> None:
    expected, world, commands, steps = undisturbed(tmp_path / "undisturbed")
    assert commands.count("sbatch") == world.cluster.submitted == len(world.cluster.worked) >= 5
    assert sum(name.partition(".")[0].endswith("-lm") for name in world.cluster.worked) == 2
    for step in range(steps):
        rows, killed = killed_and_resumed(tmp_path / str(step), step)
        assert rows == expected, f"killed at step {step}"
        assert killed.cluster.submitted == world.cluster.submitted, f"killed at step {step}"
        assert sorted(killed.cluster.worked) == sorted(world.cluster.worked), f"killed at step {step}"
    tally("crash points before and after each command of Slurm; same tables, each job's work done once", steps)
