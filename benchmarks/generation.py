"""New tokens per second, prefill included: `python benchmarks/generation.py [--wall] [--llama PYTHON GGUF]`.

Every way draws the same number of tokens for each sample, at temperature 0.8 from the whole vocabulary, as ends differ
between them. In each turn all ways draw 16 samples of each of the same prompts: transformers'
`generate(num_return_sequences=16)` those of one prompt after another, evohpc and llama.cpp 32 rows together; medians of
the turns. The roofline is what the machine could do if it did nothing but read the weights once a step, or nothing but
multiply by them. Seconds are CPU seconds of one thread, which hardly depend on what else a machine does; with `--wall`,
for a quiet machine, they are those on the clock, of `--threads`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
from lm_inputs import MODEL, prompts

from evohpc.lm import model
from evohpc.lm.decoding import Decoder
from evohpc.lm.drawing import Drawing
from evohpc.lm.model import LanguageModel, PackedLinear
from evohpc.messages import Prompt, Sampling

TEMPERATURE = 0.8
ROWS = 32
clock = time.process_time


@contextmanager
def endless() -> Iterator[None]:
    """Let completions go on where they would have ended."""

    def add(drawing: Drawing, token: int) -> str:
        drawing.tokens.append(token)
        return "length" if len(drawing.tokens) == drawing.rules.sampling.max_new_tokens else ""

    with patch.object(Drawing, "add", add):
        yield


def same_temperature(asked: list[Prompt]) -> list[Prompt]:
    """Return the prompts with all samples at one temperature."""
    return [replace(p, samples=tuple(replace(s, temperature=TEMPERATURE) for s in p.samples)) for p in asked]


def evohpc_seconds(lm: LanguageModel, asked: list[Prompt], tokens: int) -> float:
    """Draw with evohpc."""
    started = clock()
    with endless():
        drawn = sum(c.tokens for cs in Decoder(lm, None, Sampling(ROWS, tokens)).draw(asked) for c in cs)
    assert drawn == tokens * sum(len(prompt.samples) for prompt in asked)
    return clock() - started


def transformers_seconds(lm: LanguageModel, asked: list[Prompt], tokens: int) -> float:
    """Draw with `generate(num_return_sequences=n)`."""
    started = clock()
    for prompt in asked:
        ids = lm.tokenizer(prompt.text, return_tensors="pt").input_ids
        torch.manual_seed(0)
        answer = lm.model.generate(
            ids,
            do_sample=True,
            temperature=TEMPERATURE,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,
            num_return_sequences=len(prompt.samples),
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            pad_token_id=lm.tokenizer.eos_token_id,
        )
        assert answer.shape[1] == ids.shape[1] + tokens
    return clock() - started


def llama_seconds(lm: LanguageModel, asked: list[Prompt], tokens: int, python: str, gguf: str, unified: bool) -> float:
    """Draw with llama.cpp, with one cache for all rows or one for each."""
    job = {
        "prompts": [lm.tokenizer(prompt.text).input_ids for prompt in asked],
        "samples": len(asked[0].samples),
        "together": ROWS // len(asked[0].samples),
        "tokens": tokens,
        "threads": torch.get_num_threads(),
        "unified": unified,
    }
    command = [python, str(Path(__file__).with_name("llama_batch.py")), gguf]
    answer = subprocess.run(command, input=json.dumps(job), text=True, check=True, capture_output=True)
    on_clock, of_cpu = answer.stdout.split()[-2:]
    return float(of_cpu if clock is time.process_time else on_clock)


def rate(way: Callable[[], object], *, repeats: int = 5) -> float:
    """Return how often a second something can be done."""
    way()
    started = clock()
    for _ in range(repeats):
        way()
    return repeats / (clock() - started)


def roofline(lm: LanguageModel, rows: int) -> tuple[float, float]:
    """Return the tokens/s that reading the weights allows, and multiplying by them."""
    matrices = [m.weight for m in lm.model.modules() if type(m) is torch.nn.Linear]
    weights = sum(weight.numel() for weight in matrices)
    block = torch.ones(2**29 // 4)
    bandwidth = 2**29 * rate(lambda: block.sum())
    wide = PackedLinear(torch.nn.Linear(896, 4864, dtype=torch.bfloat16))
    inputs = torch.ones(1024, 896, dtype=torch.bfloat16)
    flops = 2 * inputs.numel() * 4864 * rate(lambda: wide(inputs), repeats=20)
    print(f"weights {2 * weights / 1e6:.0f} MB; read {bandwidth / 1e9:.1f} GB/s; products {flops / 1e9:.0f} GFLOP/s")
    return rows * bandwidth / (2 * weights), flops / (2 * weights)


def step_seconds(lm: LanguageModel, asked: list[Prompt], rows: int, tokens: int = 12) -> float:
    """Return what one step of that many rows takes."""
    times: list[float] = []
    samples = tuple(asked[0].samples[0] for _ in range(rows))
    prompt = Prompt(0, asked[0].text, (), samples)
    with endless():
        list(Decoder(lm, None, Sampling(rows, tokens)).draw([prompt], lambda _: times.append(clock())))
    return (times[-1] - times[1]) / (len(times) - 2)


def round_seconds(lm: LanguageModel, asked: list[Prompt], guesses: int) -> float:
    """Return what completions take that end where they do in a search."""
    started = clock()
    list(Decoder(lm, None, Sampling(ROWS, 400, speculation=guesses)).draw(asked))
    return clock() - started


def compare(
    lm: LanguageModel, plain: LanguageModel, asked: list[Prompt], options: argparse.Namespace
) -> dict[str, float]:
    """Return the tokens/s of each way, the median of the turns."""
    speeds: dict[str, list[float]] = {}
    for turn in range(options.turns):
        drawn = asked[options.prompts * turn : options.prompts * (turn + 1)]
        taken = {
            "evohpc": evohpc_seconds(lm, drawn, options.tokens),
            "transformers generate": transformers_seconds(plain, drawn, options.tokens),
        }
        for name, unified in (("llama.cpp, one cache", True), ("llama.cpp, a cache a row", False)):
            if options.llama:
                python, gguf = options.llama
                taken[name] = llama_seconds(lm, drawn, options.tokens, python, gguf, unified)
        for name, seconds in taken.items():
            speeds.setdefault(name, []).append(len(drawn) * options.samples * options.tokens / seconds)
        print(f"turn {turn}: " + ", ".join(f"{name} {values[-1]:.1f}" for name, values in speeds.items()), flush=True)
    return {name: statistics.median(values) for name, values in speeds.items()}


def main() -> None:
    """Measure and print."""
    global clock
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=2, help="in a turn")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--llama", nargs=2, metavar=("PYTHON", "GGUF"))
    options = parser.parse_args()
    clock = time.perf_counter if options.wall else time.process_time
    model.configure_torch(options.threads)
    lm, plain = (model.load(options.model, "bfloat16") for _ in range(2))
    plain.model.set_attn_implementation("sdpa")
    reading, multiplying = roofline(lm, ROWS)
    model.pack(lm.model)
    asked = same_temperature(prompts(options.prompts * options.turns, options.samples))
    table = compare(lm, plain, asked, options) | {"roofline, reading": reading, "roofline, multiplying": multiplying}
    for name, speed in table.items():
        print(f"{name:26} {speed:7.1f} tokens/s   {speed / table['transformers generate']:.2f}", flush=True)
    small = prompts(4, 8)
    for guesses in (0, 7):
        print(f"32 completions to their ends, {guesses} guesses: {round_seconds(lm, small, guesses):.1f} s", flush=True)
    for rows in (1, 2, 4, 8, 16, 32, 64):
        print(f"a step of {rows:2} rows: {1000 * step_seconds(lm, asked, rows):6.1f} ms")


if __name__ == "__main__":
    main()
