"""Two ranks that hold one model together, started by torchrun as a Slurm job starts them."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.requests import request, write
from support.tiny_lm import write_tiny_lm
from support.torchruns import HANG_S, answered, drawn, killed, launch, losses, torchrun, zero
from support.tunings import tuning
from transformers import AutoConfig, Gemma2Config, GPT2Config, PretrainedConfig, Qwen2Config

from evohpc.errors import LMError
from evohpc.lm import model, soft_prompt, tensor_parallel
from evohpc.lm.ranks import Replica
from evohpc.messages import Prompt, Sample


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "family", "more"),
    [(0, Qwen2Config, {}), (2, Gemma2Config, {"head_dim": 8, "sliding_window": 16, "tie_word_embeddings": False})],
)
def test_two_ranks_with_one_model_tune_and_draw_as_one_rank_does(
    tmp_path: Path, stage: int, family: type[PretrainedConfig], more: dict[str, Any]
) -> None:
    """Up to rounding, as sums over the ranks are added up in another order."""
    write_tiny_lm(tmp_path / "model", family, **more)
    asked = request(tmp_path / "model", tuning=tuning(), max_new_tokens=40)
    alone = answered(tmp_path / "alone", asked, 1)
    assert answered(tmp_path / "both", replace(asked, tensor_parallel=True, deepspeed_config=zero(stage)), 2) == alone
    assert losses(tmp_path / "both") == pytest.approx(losses(tmp_path / "alone"), abs=1e-5)
    one, other = (soft_prompt.load(tmp_path / name / "rounds/000/adapter") for name in ("alone", "both"))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_transformers_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers.distributed", None)
    with pytest.raises(LMError, match=r"lm.tensor_parallel needs a newer transformers than \d"):
        tensor_parallel.slicing(Replica(0, 1, 2))


SHOW = """
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from evohpc.lm import model, ranks

folder, out = map(Path, sys.argv[1:])
with ranks.joined(), torch.inference_mode():
    lm = model.load(folder, "float32", is_sliced=True)
    weights = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in lm.model.parameters()]
    logits = lm.model(input_ids=torch.arange(40)[None]).logits
    torch.save((sum(weight.numel() for weight in weights), logits), out / f"{ranks.RANK}.pt")
"""


@pytest.mark.slow
def test_each_rank_holds_about_half_of_the_model_and_has_all_of_the_logits(
    tmp_path: Path, lm: model.LanguageModel, model_folder: Path
) -> None:
    (tmp_path / "show.py").write_text(SHOW)
    subprocess.run(
        [*torchrun(2), str(tmp_path / "show.py"), str(model_folder), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        check=True,
        timeout=HANG_S,
    )
    (some, first), (others, second) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert max(some, others) < 0.55 * sum(weight.numel() for weight in lm.model.parameters())
    assert torch.equal(first, second)
    torch.testing.assert_close(first, lm.model(input_ids=torch.arange(40)[None]).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_killed_rank_ends_the_job_and_the_restart_draws_only_what_is_missing(
    tmp_path: Path, model_folder: Path
) -> None:
    prompt = Prompt(0, "class A:", (), tuple(Sample(j, j, 0.8) for j in range(40)))
    asked = request(model_folder, prompts=(prompt,), max_new_tokens=100, batch_size=8, tensor_parallel=True)
    whole = answered(tmp_path / "whole", asked, 2)
    round = write(tmp_path / "killed", asked)
    killed(round, victim=0)
    kept = round.completions.read_bytes().count(b"\n")
    assert 5 < kept < 40
    with launch(round, 2) as job:
        log = job.communicate(timeout=HANG_S)[1]
    assert round.completions.read_bytes() == whole
    assert drawn(log) == 2 * (40 - kept)  # both ranks draw all


def test_replicas_divide_the_work_and_the_ranks_of_one_do_the_same() -> None:
    assert [Replica(number, 3, 1).share("abcdefgh", 3) for number in range(3)] == [[*"ab"], [*"cde"], [*"fgh"]]
    assert [Replica(number, 2, 1).share("abcdefghij", 2) for number in range(2)] == [[*"abefi"], [*"cdghj"]]
    shared = Replica(0, 1, 2)
    assert shared.share("abcde", 2) == [*"abcde"]
    assert shared.total(3.0) == 3.0


@pytest.mark.parametrize(
    ("family", "slices", "deepspeed", "problem"),
    [
        (GPT2Config, 2, {}, r"no plan for slicing a model of type gpt2: .* ZeRO stage 3 in lm.deepspeed instead"),
        (Qwen2Config, 3, {}, r"4 attention heads and 2 key heads .* 3 processes .* lm.processes .* can be 1, 2$"),
        (Qwen2Config, 2, zero(3), r"lm.tensor_parallel and a ZeRO stage of 3 in lm.deepspeed exclude each other"),
    ],
)
def test_what_cannot_be_sliced_is_refused(
    tmp_path: Path, family: type[PretrainedConfig], slices: int, deepspeed: dict[str, object], problem: str
) -> None:
    write_tiny_lm(tmp_path, family)
    with pytest.raises(LMError, match=problem):
        tensor_parallel.check(tmp_path, AutoConfig.from_pretrained(tmp_path), slices, deepspeed)


def test_one_process_can_hold_all_slices(model_folder: Path) -> None:
    lm = model.load(model_folder, "float32", is_sliced=True)
    assert lm.replica == Replica(0, 1, 1)
    assert not tensor_parallel.is_slice(lm.model.get_input_embeddings().weight)
