"""Several ranks of one LM job, started by torchrun as a Slurm job starts them."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from test_generate import request, write
from test_tuning import tuning

from evohpc.lm.generate import TUNING
from evohpc.records import LMRequest, LowRank, Prompt, Sample
from evohpc.rundir import RoundDir

pytestmark = pytest.mark.slow

HANG_S = 600.0
"""No job takes so long on any machine."""

DYING = """
import os, signal
from evohpc.lm import generate, journal

append, kept = journal.append, []

def append_and_die(path, completions):
    append(path, completions)
    kept.extend(completions)
    if os.environ["RANK"] == "VICTIM" and len(kept) > 5:
        os.kill(os.getpid(), signal.SIGKILL)

journal.append = append_and_die
generate._leave(generate.main())
"""
"""The LM job, but that one rank is killed as soon as it has kept some completions."""

CONFIGS = Path(__file__).parents[2] / "configs/deepspeed"


def torchrun(ranks: int) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]


@contextmanager
def launch(
    round: RoundDir, ranks: int, program: Sequence[str] = ("-m", "evohpc.lm.generate")
) -> Iterator[subprocess.Popen[str]]:
    """Start a job; it ends with the test, whatever comes."""
    job = subprocess.Popen(
        [*torchrun(ranks), *program, str(round.request)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        stderr=subprocess.PIPE,
        text=True,
    )
    with job:
        try:
            yield job
        finally:
            for child in children(job.pid) if job.poll() is None else ():
                os.kill(child, signal.SIGKILL)


def answered(run: Path, asked: LMRequest, ranks: int) -> bytes:
    round = write(run, asked)
    with launch(round, ranks) as job:
        log = job.communicate(timeout=HANG_S)[1]
    assert job.returncode == 0, log
    assert not list(round.path.glob("completions.rank*"))
    return round.completions.read_bytes()


def killed(round: RoundDir, victim: int) -> None:
    """Answer with two ranks, one of which is killed on the way."""
    program = round.path / "dying.py"
    program.write_text(DYING.replace("VICTIM", str(victim)))
    with launch(round, 2, [str(program)]) as job:
        job.communicate(timeout=HANG_S)
    assert job.returncode != 0


def drawn(log: str) -> int:
    """Return how many completions the ranks set out to draw."""
    return sum(int(total) for _, total in set(re.findall(r"rank (\d+): generating: \d+ of (\d+)", log)))


def zero(stage: int) -> dict:
    return json.loads((CONFIGS / f"zero{stage}.json").read_text())


def losses(run: Path) -> list[float]:
    record = json.loads((RoundDir(run / "rounds/000").path / TUNING).read_text())
    assert record["outcome"] == "tuned"
    return record["losses"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, model_folder) -> Path:
    """A run that one rank answered, without any DeepSpeed configuration."""
    run = tmp_path_factory.mktemp("alone")
    answered(run, request(model_folder, tuning=tuning()), 1)
    return run


@pytest.mark.parametrize(("stage", "ranks"), [(0, 2), (2, 2), (3, 2), (3, 1)])
def test_two_ranks_tune_and_generate_as_one_does_at_every_zero_stage(tmp_path, model_folder, alone, stage, ranks):
    asked = request(model_folder, tuning=tuning(), deepspeed_config=zero(stage))
    found = answered(tmp_path, asked, ranks)
    assert losses(tmp_path) == pytest.approx(losses(alone), abs=1e-5)
    assert found == (alone / "rounds/000/completions.jsonl").read_bytes()


@pytest.mark.parametrize("stage", [0, 2])
def test_two_ranks_tune_a_lora_as_one_does(tmp_path, model_folder, stage):
    asked = request(model_folder, tuning=tuning(lora=LowRank(4, 8.0), learning_rate=1e-3))
    expected = answered(tmp_path / "a", asked, 1)
    assert answered(tmp_path / "b", replace(asked, deepspeed_config=zero(stage)), 2) == expected
    assert losses(tmp_path / "b") == pytest.approx(losses(tmp_path / "a"), abs=1e-5)


def test_ranks_share_one_prompt_and_none_waits_for_ever_without_work(tmp_path, model_folder):
    """ZeRO-3 gathers the weights of a rank that works from one that has nothing to do."""
    one = Prompt(0, "class A:", (), (Sample(0, 3, 0.8),))
    asked = request(model_folder, prompts=(one,))
    expected = answered(tmp_path / "a", asked, 1)
    assert answered(tmp_path / "b", replace(asked, deepspeed_config=zero(3)), 2) == expected


def test_a_killed_rank_ends_the_job_and_the_restart_draws_only_what_is_missing(tmp_path, model_folder):
    prompts = tuple(
        Prompt(i, f"class A{i}:", (), tuple(Sample(j, 100 * i + j, 0.8) for j in range(40))) for i in range(4)
    )
    asked = request(model_folder, prompts=prompts, max_new_tokens=200, batch_size=8)
    whole = answered(tmp_path / "whole", asked, 1)
    round = write(tmp_path / "killed", asked)
    killed(round, victim=1)
    kept = {line for file in round.path.glob("completions*.jsonl") for line in file.read_bytes().splitlines()}
    assert 5 < len(kept) < 160
    with launch(round, 2) as job:
        log = job.communicate(timeout=HANG_S)[1]
    assert round.completions.read_bytes() == whole
    assert drawn(log) == 160 - len(kept)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
