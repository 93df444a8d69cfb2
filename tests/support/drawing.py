"""Prompts, and what the tiny language model draws for them."""

import torch

from evohpc.lm.decoding import Decoder
from evohpc.lm.model import LanguageModel
from evohpc.messages import Completion, Prompt, Sample, Sampling

# No newline at the end: a model of random weights hardly ever indents, so its class would end at once.
TEXTS = ("class Model(nn.Module):", "x = 1\nclass Model(nn.Module):", "a")


def prompts(temperature: float = 0.8, samples: int = 4) -> list[Prompt]:
    return [
        Prompt(i, text, (), tuple(Sample(j, 100 * i + j, temperature) for j in range(samples)))
        for i, text in enumerate(TEXTS)
    ]


def drawn(
    lm: LanguageModel, asked: list[Prompt], rows: int = 5, new: int = 24, soft: torch.Tensor | None = None
) -> dict[tuple[int, int], Completion]:
    completions = [c for ended in Decoder(lm, soft, Sampling(rows, new)).draw(asked) for c in ended]
    found = {(c.prompt, c.sample): c for c in completions}
    assert len(found) == len(completions) == sum(len(p.samples) for p in asked)
    return found
