"""Tokenizers of the kinds that language models have, trained on the spot; each as its model's own files describe it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from support.paths import MNIST1D_SEEDS

_VOCABULARY = 700
_BYTES = [f"<0x{number:02X}>" for number in range(256)]
_SPACES = [("▁", "▁"), ("▁▁", "▁▁"), ("▁▁▁▁", "▁▁▁▁"), ("▁▁", "▁")]
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN = _LLAMA_3.replace("{1,3}", "")


@functools.cache
def _corpus() -> tuple[str, ...]:
    """Some Python, with what people write in it beside."""
    sources = [path.read_text() for path in sorted(MNIST1D_SEEDS.glob("*.py"))]
    return (*sources, "# né, 数字 и 🙂: naïve ÷ 2\n" * 5)


@dataclass(frozen=True)
class Family:
    """What makes a kind of tokenizer."""

    bos: str | None
    eos: str
    make: Callable[[list[str]], Tokenizer]

    def tokenizer(self) -> Any:
        """Return a trained one, as transformers loads it."""
        special = [name for name in (self.bos, self.eos) if name]
        backend = self.make(special)
        if self.bos:
            start = (self.bos, backend.token_to_id(self.bos))
            backend.post_processor = processors.TemplateProcessing(
                single=f"{self.bos} $A", pair=f"{self.bos} $A {self.bos} $B", special_tokens=[start]
            )
        return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=self.bos, eos_token=self.eos)


def _pieces(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return vocabulary and merges as sentencepiece makes them: words begin with ▁, bytes stand for rare characters,
    runs of spaces are tokens."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(Regex(r"▁*[^▁\n]+|▁+|\n+"), "isolated")
    trainer = trainers.BpeTrainer(vocab_size=_VOCABULARY, limit_alphabet=120, show_progress=False)
    trained.train_from_iterator(_corpus(), trainer)
    learnt = [token for token in sorted(trained.get_vocab(), key=trained.get_vocab().__getitem__) if "\n" not in token]
    merges = [pair for pair in _merges(trained) if not any("\n" in half for half in pair)]
    tokens = dict.fromkeys(["<unk>", *special, *_BYTES, "▁", *learnt, *("".join(pair) for pair in _SPACES)])
    return {token: number for number, token in enumerate(tokens)}, [*_SPACES, *(m for m in merges if m not in _SPACES)]


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def _sentencepiece(special: list[str]) -> Tokenizer:
    vocabulary, merges = _pieces(special)
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.add_special_tokens(special)
    return tokenizer


_AS_TEXT = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]


def _llama_2(special: list[str]) -> Tokenizer:
    tokenizer = _sentencepiece(special)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([*_AS_TEXT, decoders.Strip(" ", 1, 0)])
    return tokenizer


def _mistral(special: list[str]) -> Tokenizer:
    tokenizer = _sentencepiece(special)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([*_AS_TEXT, decoders.Strip(" ", 1, 0)])
    return tokenizer


def _phi_3(special: list[str]) -> Tokenizer:
    tokenizer = _llama_2(special)
    tokenizer.add_special_tokens([AddedToken("<|assistant|>", rstrip=True), AddedToken("<|end|>", rstrip=True)])
    return tokenizer


def _gemma(special: list[str]) -> Tokenizer:
    tokenizer = _sentencepiece(special)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(_AS_TEXT)
    return tokenizer


def _bytes(special: list[str], *before: Any, use_regex: bool = False, **model: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**model))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return tokenizer


def _llama_3(special: list[str]) -> Tokenizer:
    return _bytes(special, pre_tokenizers.Split(Regex(_LLAMA_3), "isolated"), ignore_merges=True)


def _qwen(special: list[str]) -> Tokenizer:
    tokenizer = _bytes(special, pre_tokenizers.Split(Regex(_QWEN), "isolated"))
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def _starcoder_2(special: list[str]) -> Tokenizer:
    return _bytes(special, pre_tokenizers.Digits(individual_digits=True), use_regex=True)


def _deepseek_coder(special: list[str]) -> Tokenizer:
    words = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+")
    splits = (pre_tokenizers.Split(Regex(word), "isolated") for word in words)
    return _bytes(special, *splits, pre_tokenizers.Digits(individual_digits=True))


_BAR = "\N{FULLWIDTH VERTICAL LINE}"

FAMILIES = {
    "Llama 2": Family("<s>", "</s>", _llama_2),
    "Llama 3": Family("<|begin_of_text|>", "<|end_of_text|>", _llama_3),
    "Mistral": Family("<s>", "</s>", _mistral),
    "Phi-3": Family("<s>", "<|endoftext|>", _phi_3),
    "Gemma": Family("<bos>", "<eos>", _gemma),
    "Qwen": Family(None, "<|endoftext|>", _qwen),
    "StarCoder2": Family(None, "<|endoftext|>", _starcoder_2),
    "DeepSeek-Coder": Family(f"<{_BAR}begin▁of▁sentence{_BAR}>", f"<{_BAR}end▁of▁sentence{_BAR}>", _deepseek_coder),
}
