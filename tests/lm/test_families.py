"""The engine on other families of causal LMs than the one that the rest of the tests use."""

from pathlib import Path

import pytest
import torch
from tiny_lm import write_tiny_lm
from transformers import GPT2Config, GPTNeoXConfig, LlamaConfig, MistralConfig, PretrainedConfig, Qwen3Config

from evohpc.lm import model
from evohpc.lm.decoding import Decoder, Settings
from evohpc.records import Prompt, Sample

FAMILIES = {
    "llama": (LlamaConfig, {}),
    "qwen3": (Qwen3Config, {"head_dim": 8}),
    "mistral": (MistralConfig, {"sliding_window": None}),
    "gpt-neox": (GPTNeoXConfig, {}),
    "gpt2": (GPT2Config, {"bos_token_id": 256, "n_positions": 512}),
}
TEXT = "class A:\n    def f(self):\n        return 1\n\n\nclass A:\n"


@pytest.mark.parametrize("name", FAMILIES)
def test_greedy_completions_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    family: type[PretrainedConfig]
    family, more = FAMILIES[name]
    write_tiny_lm(tmp_path, family, **more)
    torch.set_num_threads(1)
    lm = model.load(tmp_path, "float32")
    ids = lm.tokenizer(TEXT, return_tensors="pt").input_ids
    theirs = lm.model.generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
    model.pack(lm.model)
    tokens: list[int] = []

    class Recorder(Decoder):
        def _add(self, row, token):
            tokens.append(token)
            super()._add(row, token)
            return "length" if len(tokens) == 24 else ""

    list(Recorder(lm, None, Settings(2, 24)).draw([Prompt(0, TEXT, (), (Sample(0, 1, 0.0),))]))
    assert tokens == theirs.tolist()
