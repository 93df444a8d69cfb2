"""Prompts, and what the tiny language model draws for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch

from evohpc.lm import decoding, sampling
from evohpc.lm.decoding import Decoder
from evohpc.lm.drawing import Drawing
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


@dataclass
class Record:
    """What was drawn, token by token."""

    tokens: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    """By prompt and sample, in the order in which they were begun."""
    logits: list[torch.Tensor] = field(default_factory=list)
    """Of each step, those that it drew from: [rows x places, vocabulary]."""


@contextmanager
def recording(endless: bool = False) -> Iterator[Record]:
    """Record what decoders draw meanwhile. Endless completions end by nothing but their length."""
    record, add = Record(), Drawing.add

    def note(drawing: Drawing, token: int) -> str:
        stop = add(drawing, token)
        record.tokens.setdefault((drawing.prompt.index, drawing.sample.index), []).append(token)
        if endless:
            return "length" if len(drawing.tokens) == drawing.longest else ""
        return stop

    def keep(logits: torch.Tensor, *how: Any, **more: Any) -> torch.Tensor:
        record.logits.append(logits)
        return sampling.distribution(logits, *how, **more)

    with patch.object(Drawing, "add", note), patch.object(decoding, "distribution", keep):
        yield record
