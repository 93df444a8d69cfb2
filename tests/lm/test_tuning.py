import math
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from support.tiny_lm import write_tiny_lm
from support.tunings import EXAMPLES, tuned, tuning
from transformers import GPT2Config

from evohpc.errors import LMError
from evohpc.lm import soft_prompt
from evohpc.lm import tuning as module
from evohpc.lm.decoding import Decoder
from evohpc.lm.model import LanguageModel
from evohpc.messages import Prompt, Sampling, TuningExample


def test_the_loss_falls_and_only_the_prompt_moves(lm: LanguageModel) -> None:
    before = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    losses, _ = tuned(lm, tuning(epochs=12))
    assert len(losses) == 12 * 2
    assert sum(losses[-2:]) < 0.95 * sum(losses[:2])
    assert all(torch.equal(weight, before[name]) for name, weight in lm.model.state_dict().items())
    assert all(parameter.grad is None for parameter in lm.model.parameters())


def test_the_same_tuning_gives_the_same_prompt(lm: LanguageModel, model_folder: Path) -> None:
    from evohpc.lm import model

    again = model.load(model_folder, "float32")
    (losses, prompt), (losses_again, prompt_again) = tuned(lm, tuning()), tuned(again, tuning())
    assert losses == losses_again
    assert torch.equal(prompt, prompt_again)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """It learned a vector for each of its 512 positions, and has none for a later one."""
    from evohpc.lm import model

    folder = tmp_path_factory.mktemp("short")
    write_tiny_lm(folder, GPT2Config)
    return model.load(folder, "float32")


LONG = TuningExample("long", "class A:\n", f"    x = {'1' * 600}\n")
"""More tokens than the model takes, as a rule may have made it of a long seed."""


def test_a_program_that_outgrew_the_model_is_left_out_of_the_tuning(short: LanguageModel) -> None:
    (losses, prompt), (without, same) = (
        tuned(short, replace(tuning(), examples=examples)) for examples in ((*EXAMPLES, LONG), EXAMPLES)
    )
    assert losses == without
    assert torch.equal(prompt, same)


def test_a_tuning_of_nothing_but_such_programs_fails_and_no_more(short: LanguageModel) -> None:
    with pytest.raises(module.TuningFailed, match="all examples are longer than the 512 tokens that the model takes"):
        tuned(short, replace(tuning(), examples=(LONG,)))


def test_it_continues_from_the_last_prompt(lm: LanguageModel) -> None:
    start = torch.full((4, 32), 0.25)
    _, moved = tuned(lm, tuning(epochs=1, batch_size=6, learning_rate=0.01), start)
    # Adam's first step is the learning rate, in every direction that has a gradient.
    assert (moved - start).abs().max().item() == pytest.approx(0.01, rel=1e-3)


def test_the_first_loss_is_that_of_the_untuned_prompt_on_the_completions_alone(lm: LanguageModel) -> None:
    losses, _ = tuned(lm, tuning(epochs=1, batch_size=6, learning_rate=1e-9))
    start = soft_prompt.initial(lm, tuning(), None)
    total, count = 0.0, 0
    for example in EXAMPLES:
        ids = [*lm.tokenizer(example.prompt + example.completion).input_ids, lm.tokenizer.eos_token_id]
        first = len(lm.tokenizer(example.prompt).input_ids)
        logits = lm.model(inputs_embeds=torch.cat([start[None], lm.embed(torch.tensor(ids))[None]], 1)).logits[0, 4:]
        each = torch.nn.functional.cross_entropy(logits[first - 1 : -1], torch.tensor(ids[first:]), reduction="sum")
        total, count = total + each.item(), count + len(ids) - first
    assert losses == [pytest.approx(total / count, rel=1e-5)]


# peft 0.21 asks transformers 5.23 by an old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_saved_prompt_is_what_generates(lm: LanguageModel, tmp_path: Path) -> None:
    tokens = module.tune(lm, tuning(), None, {})
    assert isinstance(tokens, torch.Tensor)
    soft_prompt.save(tokens, tmp_path / "soft_prompt", "model")
    loaded = soft_prompt.load(tmp_path / "soft_prompt")
    assert torch.equal(loaded, tokens)
    model = PeftModel.from_pretrained(lm.model, tmp_path / "soft_prompt")
    ids = lm.tokenizer("class A:").input_ids
    with torch.inference_mode():
        theirs = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits[:, -1]
        ours = Decoder(lm, loaded, Sampling(1, 4)).prefill(Prompt(0, "class A:", (), ())).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_an_optimizer_of_the_user_s_is_torch_s_and_compiles_nothing(
    lm: LanguageModel, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("it compiles")

    monkeypatch.setattr("torch.utils.cpp_extension.load", refuse)
    settings: dict[str, object] = {"optimizer": {"type": kind, "params": {"lr": 0.01, "weight_decay": 0.0}}}
    tokens = module.tune(lm, tuning(epochs=1, batch_size=6), None, settings)
    ours = module.tune(lm, tuning(epochs=1, batch_size=6, learning_rate=0.01), None, {})
    torch.testing.assert_close(tokens, ours)


def test_half_precision_that_a_processor_has_not_is_refused_in_a_sentence(lm: LanguageModel) -> None:
    from deepspeed.accelerator import get_accelerator

    settings: dict[str, object] = {"fp16": {"enabled": True}, "zero_optimization": {"stage": 2}}
    refused = pytest.raises(LMError, match=r"DeepSpeed refuses what lm\.deepspeed says: Type fp16 is not supported")
    with nullcontext() if get_accelerator().is_fp16_supported() else refused:
        tokens = module.tune(lm, tuning(epochs=1), None, settings)
        assert isinstance(tokens, torch.Tensor)
        assert tokens.isfinite().all()


def test_what_deepspeed_refuses_is_a_sentence(lm: LanguageModel) -> None:
    with pytest.raises(LMError, match=r"DeepSpeed refuses what lm\.deepspeed says: .*fp16"):
        module.tune(lm, tuning(epochs=1), None, {"fp16": {"enabled": True}, "bf16": {"enabled": True}})


def test_no_lock_of_a_killed_job_is_waited_for(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    module.tune(lm, tuning(epochs=1), None, {})
    extensions = Path(os.environ["TORCH_EXTENSIONS_DIR"])
    assert extensions.is_dir()
    assert extensions != tmp_path


def test_a_loss_that_is_not_finite_fails_the_tuning(lm: LanguageModel) -> None:
    with pytest.raises(module.TuningFailed, match="nan"):
        tuned(lm, tuning(), torch.full((4, 32), math.nan))


def test_running_out_of_memory_fails_the_tuning(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(lm.model, "forward", refuse)
    with pytest.raises(module.TuningFailed, match="out of memory"):
        tuned(lm, tuning())


def test_a_prompt_of_another_length_is_refused(lm: LanguageModel) -> None:
    with pytest.raises(LMError, match=r"has 3 virtual tokens, tuning.virtual_tokens asks for 4"):
        tuned(lm, tuning(), torch.zeros(3, 32))


def test_an_example_of_twice_the_weight_counts_as_two(lm: LanguageModel, model_folder: Path) -> None:
    from evohpc.lm import model

    heavy, light = replace(EXAMPLES[0], weight=2.0), EXAMPLES[3]
    once = tuned(lm, tuning(examples=(heavy, light), epochs=3))
    twice = tuned(model.load(model_folder, "float32"), tuning(examples=(EXAMPLES[0], EXAMPLES[0], light), epochs=3))
    assert once[0] == pytest.approx(twice[0], rel=1e-5)
    torch.testing.assert_close(once[1], twice[1], rtol=1e-3, atol=1e-3)
