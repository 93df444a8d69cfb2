"""kill -9 at random moments: the same command goes on, and ends in the table of a search that was never disturbed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.driving import make_run
from support.paths import MNIST1D_SEEDS, TESTS
from support.tally import Tally

from evohpc.messages import Result
from evohpc.run_folder import RunDir
from evohpc.store.store import TABLES, Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

KILLS = [5, pytest.param(20, marks=pytest.mark.long)]
CONFIG = """
task: mnist1d
task_options: {steps: 300, eval_every: 100, validate_on: published}
seeds: SEEDS
search: {rounds: 3, prompts_per_round: 2, samples_per_prompt: 4, survivors: 3, error_threshold: 1.0}
lm: {engine: scripted}
evaluation: {time_limit_s: 600, memory_mb: 1500, disk_mb: 64}
"""
WORKERS = 2
KILLED_AT_SPAWN = """
import os, signal, subprocess, sys
module, fatal, taken = sys.argv.pop(1), int(sys.argv.pop(1)), 0

def step(counts):
    global taken
    if counts and taken == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    taken += counts

class Popen(subprocess.Popen):
    def __init__(self, command, *args, **options):
        step(module in command)
        super().__init__(command, *args, **options)
        step(module in command)

subprocess.Popen = Popen
"""
"""A process that is killed at a step: even ones are before it starts a process of a module, odd ones after it."""
RUN = KILLED_AT_SPAWN + "from evohpc import cli; cli.main()"
DRIVE = f"""{KILLED_AT_SPAWN}
from pathlib import Path
sys.path.append({str(TESTS)!r})
from support.driving import drive
from evohpc.lm_job.local import LocalLMJob
from evohpc.run_folder import RunDir
drive(RunDir(Path(sys.argv[1])), lm=LocalLMJob())
"""
"""A driver that measures its candidates at once, and has a real language model."""
WITH_LM = """
task: mnist1d
seeds: seeds
lm: {path: MODEL, dtype: float32, threads: 1, max_new_tokens: 12}
search: {rounds: 2, prompts_per_round: 1, samples_per_prompt: 2, examples_per_prompt: 1}
"""
UNSTEADY = {"seconds", "host", "finished_at", "versions"}
"""Columns of results that differ between two runs of anything."""


def start(run: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "evohpc", "run", str(run), str(run.parent / "config.yaml")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def drive_to_the_end(run: Path) -> float:
    started = time.monotonic()
    process = start(run)
    _, said = process.communicate(timeout=1800)
    assert process.returncode == 0, said.decode()
    return time.monotonic() - started


def table(run: Path) -> dict[str, list[Any]]:
    store = Store.snapshot_reader(RunDir(run).database)
    try:
        tables: dict[str, list[Any]] = {name: store.rows(name) for name in TABLES if name != "results"}
        steady = sorted(set(Result.__dataclass_fields__) - UNSTEADY)
        tables["results"] = [
            tuple(getattr(result, name) for name in steady)
            for row in store.rows("candidates")
            for result in store.results(row["id"])
        ]
        return tables
    finally:
        store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    seeds = MNIST1D_SEEDS
    (tmp_path / "config.yaml").write_text(CONFIG.replace("SEEDS", str(seeds)))
    return tmp_path


@pytest.mark.parametrize("kills", KILLS)
def test_killed_at_random_moments_it_ends_in_the_same_table(folder: Path, kills: int, tally: Tally) -> None:
    took = drive_to_the_end(folder / "undisturbed")
    expected = table(folder / "undisturbed")
    assert len(expected["candidates"]) == 4 + 3 * 8
    rng, killed, runs = random.Random(20261124), 0, 0
    while killed < kills:
        run = folder / f"disturbed-{runs}"
        process = start(run)
        try:
            process.wait(rng.uniform(0, took))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        assert process.stderr is not None
        process.stderr.close()
        assert process.returncode in (0, -signal.SIGKILL)
        if process.returncode == 0:
            assert table(run) == expected
            runs += 1
    drive_to_the_end(run)
    assert table(run) == expected
    tally("kill -9 of a driver at random moments, candidates training; it ended in the same table", killed)


def test_killed_before_and_after_the_start_of_each_evaluator_it_ends_in_the_same_table(
    folder: Path, tally: Tally
) -> None:
    config = folder / "config.yaml"
    few = config.read_text().replace("rounds: 3, prompts_per_round: 2", "rounds: 1, prompts_per_round: 1")
    config.write_text(few.replace("steps: 300", "steps: 100").replace("{time", f"{{workers: {WORKERS}, time"))
    drive_to_the_end(folder / "undisturbed")
    expected = table(folder / "undisturbed")
    for step in range(2 * WORKERS):
        run = folder / f"killed-{step}"
        command = [sys.executable, "-c", RUN, "evohpc.evaluation.worker", str(step), "run", str(run), str(config)]
        assert subprocess.run(command, capture_output=True, timeout=1800).returncode == -signal.SIGKILL
        drive_to_the_end(run)
        assert table(run) == expected, f"killed at step {step}"
    tally("kill -9 of a driver before and after the start of an evaluator; it ended in the same table", 2 * WORKERS)


def driven_with_lm(run: RunDir, fatal: int = -1) -> dict[str, Any]:
    """Drive a run, to its end unless it is killed at a step; return its tables, and what crossed to the LM jobs and
    back."""
    command = [sys.executable, "-c", DRIVE, "evohpc.lm.generate", str(fatal), str(run.path)]
    done = subprocess.run(command, capture_output=True, timeout=1800)
    assert done.returncode == (0 if fatal < 0 else -signal.SIGKILL), done.stderr.decode()
    if fatal >= 0:
        return {}
    crossed = [path for round in (0, 1) for path in (run.round(round).request, run.round(round).completions)]
    return {**table(run.path), "crossed": [path.read_bytes() for path in crossed]}


def test_killed_before_and_after_the_start_of_each_lm_job_it_ends_in_the_same_bytes(
    tmp_path: Path, tiny_model: Path, tally: Tally
) -> None:
    config = WITH_LM.replace("MODEL", str(tiny_model))
    expected = driven_with_lm(make_run(tmp_path / "undisturbed", config))
    for step in range(4):
        run = make_run(tmp_path / f"killed-{step}", config)
        driven_with_lm(run, fatal=step)
        assert driven_with_lm(run) == expected, f"killed at step {step}"
    tally("kill -9 of a driver before and after the start of an LM job; the same tables, requests and completions", 4)
