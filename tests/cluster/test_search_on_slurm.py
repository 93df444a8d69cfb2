"""A whole search on a real Slurm, in real containers, ends in the same table as on one machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster.slurm import Cluster
from evaluating import HONEST, RUN_ID, make_run

from evohpc import lease
from evohpc.config import load_config
from evohpc.driver import Driver
from evohpc.envelopes import decode
from evohpc.jobs.base import JobRunner
from evohpc.jobs.local import LocalRunner
from evohpc.jobs.slurm import SlurmRunner
from evohpc.ledger import Ledger
from evohpc.records import SEED_ROUND, Isolation, TaskInterface
from evohpc.rundir import RunDir, write_atomic
from evohpc.scripted_lm import ScriptedLMJob
from evohpc.site import ContainerSection, SchedulerSection, Site
from evohpc.store import Store

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(400)]

CONFIG = """
task: mnist1d
task_options: {steps: 20, eval_every: 10}
seeds: SEEDS
lm: {engine: scripted}
search: {rounds: 2, prompts_per_round: 1, samples_per_prompt: 2, survivors: 2, error_threshold: 1.0}
evaluation: {RUNTIME time_limit_s: 120, memory_mb: 1500, disk_mb: 32, max_params: 1000000}
"""
SEEDS = {"linear": HONEST, "wide": HONEST.replace("LazyLinear(10)", "Sequential(nn.LazyLinear(24), nn.LazyLinear(10))")}


def search(path: Path, runtime: str, make_runner: Callable[[RunDir], JobRunner], site: Site | None = None) -> Any:
    """Drive a search to its end; return its table."""
    run = make_run(path, CONFIG.replace("RUNTIME", runtime))
    for name, source in SEEDS.items():
        write_atomic(run.seeds / f"{name}.py", source)
    if site is not None:
        write_atomic(run.site, site.dump())
    held = lease.acquire(run)
    task = decode(run.task_interface.read_bytes(), TaskInterface)
    store = Store(run.database, epoch=held.epoch)
    ledger = Ledger(run, RUN_ID, load_config(run.config), task, store)
    Driver(ledger, held, ScriptedLMJob(), make_runner(run)).drive()
    entries = [entry for round in (SEED_ROUND, 0, 1) for entry in store.entries(round)]
    isolation = {entry.result.isolation for entry in entries if entry.result}
    store.close()
    held.release()
    return isolation, {
        entry.candidate.id: (
            entry.candidate.status,
            entry.candidate.code_hash,
            entry.candidate.parents,
            entry.result and (entry.result.attempt, entry.result.num_params, entry.result.error, entry.result.fitness),
        )
        for entry in entries
    }


def test_it_ends_in_the_table_of_the_local_runner(slurm: Cluster, containers: ContainerSection, tmp_path: Path) -> None:
    site = Site(container=containers, scheduler=SchedulerSection(poll_s=0.5, submit_every_s=0, settle_s=5))
    isolation, on_slurm = search(
        tmp_path / "slurm",
        "runtime: apptainer, minimum_isolation: container,",
        lambda run: SlurmRunner(run.path, site, load_config(run.config).evaluation),
        site,
    )
    _, here = search(tmp_path / "local", "", lambda run: LocalRunner(run.path, workers=2))
    assert len(here) == 2 + 2 * 1 * 2
    assert on_slurm == here
    assert isolation == {Isolation.CONTAINER}
