"""Requests to the language model, and their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from evohpc.envelopes import encode
from evohpc.files import write_atomic
from evohpc.messages import LMRequest, Prompt, Sample, Sampling
from evohpc.run_folder import RoundDir, RunDir

PROGRAM = "class Model(nn.Module):\n    def __init__(self):\n        self.out = nn.LazyLinear(10)\n"
PROMPT = f'"""Metrics:\n{{}}\n"""\n{PROGRAM}\n"""Metrics:\n{{}}\n"""\nclass Model(nn.Module):\n'
"""A prompt with two examples, of which the second is to be written."""


def prompts(texts: Sequence[str], samples: int = 3, temperature: float = 0.8) -> tuple[Prompt, ...]:
    """Return a prompt per text, each with that many samples; prompt i draws its sample j with seed 10 i + j."""
    drawn = [tuple(Sample(j, 10 * i + j, temperature) for j in range(samples)) for i in range(len(texts))]
    return tuple(Prompt(i, text, (), drawn[i]) for i, text in enumerate(texts))


def request(model_folder: Path | str = "/m", **changes: Any) -> LMRequest:
    """Return a request for two prompts of three samples, but for what is changed, options of `Sampling` too."""
    plain = LMRequest(
        schema=1,
        run_id="r",
        round=0,
        model_path=str(model_folder),
        dtype="float32",
        threads=1,
        sampling=Sampling(batch_size=4, max_new_tokens=12),
        adapter=None,
        deepspeed_config={},
        tuning=None,
        prompts=prompts(["class A0:", "class A1:"]),
    )
    sampling = {field.name: changes.pop(field.name) for field in fields(Sampling) if field.name in changes}
    return replace(plain, sampling=replace(plain.sampling, **sampling), **changes)


def write(run: Path, asked: LMRequest) -> RoundDir:
    """Write a request to its place in a run folder."""
    round = RunDir(run).round(asked.round)
    write_atomic(round.request, encode(asked))
    return round


def ask(run: Path, model: Path, *, samples: int = 3, new: int = 12) -> RoundDir:
    """Write a request whose two prompts are alike but for their seeds; return its round."""
    asked = request(model, max_new_tokens=new, prompts=prompts([PROMPT.rstrip("\n")] * 2, samples))
    return write(run, asked)


def identity(path: Path) -> tuple[int, int]:
    """Return what changes when a file is written; reading may change the rest of its status."""
    return path.stat().st_ino, path.stat().st_mtime_ns
