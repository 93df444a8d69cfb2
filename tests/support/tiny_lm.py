"""Writes the model folder that the tests of evohpc.lm load."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast, Qwen2Config

END = "<|end|>"


MERGES = [("Ġ", "Ġ"), ("ĠĠ", "ĠĠ"), ("Ċ", "ĠĠĠĠ")]
"""Give a newline and the indentation after it a token of their own, as real tokenizers do."""


def write_tiny_lm(
    folder: Path,
    family: type[PretrainedConfig] = Qwen2Config,
    merges: Sequence[tuple[str, str]] = (),
    **more: object,
) -> None:
    """Write config, weights and tokenizer: one token per byte and per merge, and one that ends a text."""
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    vocabulary = {symbol: number for number, symbol in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not merges)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {
        "vocab_size": len(alphabet) + 1,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "eos_token_id": len(alphabet),
        "tie_word_embeddings": True,
    }
    config = family(**{**sizes, **more})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # freshly initialised weights answer every prompt alike
        for weight in model.parameters():
            weight.mul_(8) if weight.dim() > 1 else weight
    model.save_pretrained(folder)
