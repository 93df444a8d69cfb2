"""`scheduler.max_queued` that is set, or lowered, when a job has been split already."""

from pathlib import Path

import pytest

from evohpc import envelopes
from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.site import SchedulerSection, Site
from evohpc.files import write_atomic
from evohpc.jobs.slurm import SlurmRunner
from evohpc.messages import Attempt, EvaluationJob
from evohpc.run_folder import RunDir

JOB = EvaluationJob("x-000-00", 0, tuple((Attempt(f"r000p00s{index:03d}", 1),) for index in range(100)))


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def bin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of a cluster where nothing is queued, and sbatch notes each array that it takes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    _write(folder / "scontrol", "echo 'MaxArraySize = 1001'")
    _write(folder / "squeue", "exit 0")
    _write(folder / "sacct", "exit 0")
    _write(folder / "sbatch", f'grep -o "array=[-0-9]*" "$2" >> {tmp_path}/got; echo 7')
    return folder


def _write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def submitted(run: Path, time: Time, polls: int, **scheduler: int) -> list[str]:
    """Have a new driver's runner submit the job, and poll for hours; return the arrays that sbatch has got."""
    write_atomic(RunDir(run).round(0).job(JOB.name), envelopes.seal("x", 1, JOB))
    site = Site(scheduler=SchedulerSection.model_validate(scheduler))
    runner = SlurmRunner(run, site, EvaluationConfig(time_limit_s=1, memory_mb=50), clock=time)
    runner.submit(JOB)
    for _ in range(polls):
        time.now += 600
        runner.poll({JOB.name: 100})
    got = run.parent / "got"
    return got.read_text().split() if got.exists() else []


def test_a_job_that_was_refused_goes_in_arrays_that_have_room(bin: Path, tmp_path: Path) -> None:
    taken, run, time = (bin / "sbatch").read_text(), tmp_path / "run", Time()
    _write(bin / "sbatch", 'echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1')
    assert submitted(run, time, 3) == []
    (bin / "sbatch").write_text(taken)
    assert submitted(run, time, 10, max_queued=40) == ["array=0-39", "array=0-39", "array=0-19"]


def test_an_array_that_slurm_may_know_is_not_split_and_goes_alone(bin: Path, tmp_path: Path) -> None:
    taken, run, time = (bin / "sbatch").read_text(), tmp_path / "run", Time()
    _write(bin / "sbatch", 'echo "sbatch: error: Socket timed out on send/recv operation" >&2; exit 1')
    assert submitted(run, time, 0) == []
    (bin / "sbatch").write_text(taken)
    assert submitted(run, time, 10, max_queued=40) == ["array=0-99"]
