"""The engine on other families of causal LMs than the one that the rest of the tests use."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.drawing import Record, recording
from support.tiny_lm import write_tiny_lm
from support.tunings import tuned, tuning
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    Glm4Config,
    GPT2Config,
    GPTBigCodeConfig,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
    RwkvConfig,
    StableLmConfig,
    Starcoder2Config,
)

from evohpc.errors import LMError
from evohpc.lm import model, soft_prompt
from evohpc.lm.decoding import Decoder
from evohpc.lm.model import LanguageModel
from evohpc.messages import Prompt, Sample, Sampling, TuningExample

GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}
FAMILIES: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
    "llama": (LlamaConfig, {}),
    "qwen2 with a window in its second layer": (
        Qwen2Config,
        {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    ),
    "qwen3": (Qwen3Config, {"head_dim": 8}),
    "mistral": (MistralConfig, {"sliding_window": None}),
    "mistral with a window": (MistralConfig, {"sliding_window": 16}),
    "gemma2": (
        Gemma2Config,
        {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16, "attn_logit_softcapping": 0.5},
    ),
    "gemma3": (
        Gemma3TextConfig,
        {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16, "sliding_window_pattern": 2},
    ),
    "phi3 with a window": (Phi3Config, {"sliding_window": 16, "pad_token_id": 0}),
    "starcoder2 with a window": (Starcoder2Config, {"sliding_window": 16}),
    "deepseek-v3": (
        DeepseekV3Config,
        {
            "num_key_value_heads": 4,
            **{"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8},
            **{"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 2},
            **{"topk_group": 1, "first_k_dense_replace": 1},
        },
    ),
    "mixtral": (MixtralConfig, {"num_local_experts": 4}),
    "qwen3-moe": (
        Qwen3MoeConfig,
        {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    ),
    "granite": (GraniteConfig, {}),
    "olmo2": (Olmo2Config, {}),
    "phi": (PhiConfig, {}),
    "stablelm": (StableLmConfig, {}),
    "glm4": (Glm4Config, {"pad_token_id": 0, "head_dim": 8}),
    "gpt-bigcode": (GPTBigCodeConfig, {"bos_token_id": 0}),
    "gpt-neox": (GPTNeoXConfig, {}),
    "gpt2": (GPT2Config, {"bos_token_id": 256, "n_positions": 512}),
}
QUICK = (
    "llama",
    "qwen2 with a window in its second layer",
    "mistral with a window",
    "gemma3",
    "phi3 with a window",
    "gpt2",
)
"""One of each kind of attention, window, cache and embedding of places; the others are tried by the slow tests."""
TEXT = "class A:\n    def f(self):\n        return 1\n\n\nclass A:\n"
NEW = 40


@pytest.fixture(params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    family, more = FAMILIES[request.param]
    write_tiny_lm(tmp_path, family, **more)
    torch.set_num_threads(1)
    return tmp_path


def theirs(folder: Path) -> Any:
    """Return the model as transformers computes it by itself."""
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


def recorded(lm: LanguageModel, sampling: Sampling, samples: int) -> Record:
    """Record greedy completions that nothing but their length ends."""
    with recording(endless=True) as record:
        asked = Prompt(0, TEXT, (), tuple(Sample(index, index, 0.0) for index in range(samples)))
        list(Decoder(lm, None, sampling).draw([asked]))
    return record


def test_greedy_completions_are_those_of_transformers(folder: Path) -> None:
    lm = model.load(folder, "float32")
    ids = lm.tokenizer(TEXT, return_tensors="pt").input_ids
    exactly = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
    plain = theirs(folder).generate(ids, **exactly, output_logits=True, return_dict_in_generate=True)
    expected = plain.sequences[0, ids.shape[1] :].tolist()
    model.pack(lm.model)
    one = recorded(lm, Sampling(2, NEW), samples=1)
    many = recorded(lm, Sampling(16, NEW, speculation=7), samples=3)
    assert one.tokens == {(0, 0): expected}
    torch.testing.assert_close(torch.cat(one.logits), torch.cat(plain.logits), rtol=1e-4, atol=1e-4)
    assert list(many.tokens.values()) == 3 * [expected]


def test_a_tuning_starts_from_the_loss_of_plain_forward_passes(folder: Path) -> None:
    lm, reference = model.load(folder, "float32"), theirs(folder)
    examples = tuple(TuningExample("a", TEXT, f"    x = {i}\n" * (2 + i)) for i in range(3))
    asked = tuning(examples=examples, epochs=1, batch_size=3, learning_rate=1e-9)
    losses, _ = tuned(lm, asked)
    start = soft_prompt.initial(lm, asked, None)
    total, count = 0.0, 0
    for example in examples:
        ids = torch.tensor([*lm.tokenizer(example.prompt + example.completion).input_ids, lm.tokenizer.eos_token_id])
        first = len(lm.tokenizer(example.prompt).input_ids)
        logits = reference(inputs_embeds=torch.cat([start[None], lm.embed(ids)[None]], 1)).logits[0, len(start) :]
        each = torch.nn.functional.cross_entropy(logits[first - 1 : -1], ids[first:], reduction="sum")
        total, count = total + each.item(), count + len(ids) - first
    assert losses == [pytest.approx(total / count, rel=1e-5)]


@pytest.mark.parametrize(
    ("config", "obstacle"),
    [
        (Qwen3NextConfig(), "model of type qwen3_next: it has layers of linear_attention"),
        (RwkvConfig(), "model of type rwkv: it is recurrent"),
        (FalconConfig(), "model of type falcon: transformers computes its attention in a way of its own"),
        (GptOssConfig(), "model of type gpt_oss: transformers computes its attention in a way of its own"),
    ],
)
def test_a_model_that_the_engine_cannot_run_is_refused_before_it_is_read(
    tmp_path: Path, config: PretrainedConfig, obstacle: str
) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(LMError, match=f"{tmp_path}: .*{obstacle}"):
        model.load(tmp_path, "float32")
