"""Several ranks of one LM job, started by torchrun as a Slurm job starts them."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.requests import request, write
from support.torchruns import HANG_S, answered, drawn, killed, launch, losses, zero
from support.tunings import tuning

from evohpc.messages import LowRank, Prompt, Sample

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """A run that one rank answered, without any DeepSpeed configuration."""
    run = tmp_path_factory.mktemp("alone")
    answered(run, request(model_folder, tuning=tuning()), 1)
    return run


@pytest.mark.parametrize(("stage", "ranks"), [(0, 2), (2, 2), (3, 2), (3, 1)])
def test_two_ranks_tune_and_generate_as_one_does_at_every_zero_stage(
    tmp_path: Path, model_folder: Path, alone: Path, stage: int, ranks: int
) -> None:
    asked = request(model_folder, tuning=tuning(), deepspeed_config=zero(stage))
    found = answered(tmp_path, asked, ranks)
    assert losses(tmp_path) == pytest.approx(losses(alone), abs=1e-5)
    assert found == (alone / "rounds/000/completions.jsonl").read_bytes()


@pytest.mark.parametrize("stage", [0, 2])
def test_two_ranks_tune_a_lora_as_one_does(tmp_path: Path, model_folder: Path, stage: int) -> None:
    asked = request(model_folder, tuning=tuning(lora=LowRank(4, 8.0), learning_rate=1e-3))
    expected = answered(tmp_path / "a", asked, 1)
    assert answered(tmp_path / "b", replace(asked, deepspeed_config=zero(stage)), 2) == expected
    assert losses(tmp_path / "b") == pytest.approx(losses(tmp_path / "a"), abs=1e-5)


def test_ranks_share_one_prompt_and_none_waits_for_ever_without_work(tmp_path: Path, model_folder: Path) -> None:
    """ZeRO-3 gathers the weights of a rank that works from one that has nothing to do."""
    one = Prompt(0, "class A:", (), (Sample(0, 3, 0.8),))
    asked = request(model_folder, prompts=(one,))
    expected = answered(tmp_path / "a", asked, 1)
    assert answered(tmp_path / "b", replace(asked, deepspeed_config=zero(3)), 2) == expected


def test_a_killed_rank_ends_the_job_and_the_restart_draws_only_what_is_missing(
    tmp_path: Path, model_folder: Path
) -> None:
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
