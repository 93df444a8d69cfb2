"""What a step of prompt-tuning costs: `python benchmarks/tuning.py [--examples N] [--repeats N]`.

Beside it, in turns in one process, stand a bare forward and backward pass through the transformers model of as many
tokens, in sequences of 1024, with logits at as many places; and what a training loop with padding does: batches of 4
examples, the longest first, logits and labels everywhere. Medians of the CPU seconds of one thread, which load hardly
changes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from lm_inputs import MODEL, examples
from torch import Tensor

from evohpc.lm import lora, model, soft_prompt, tuning
from evohpc.lm.model import LanguageModel
from evohpc.lm.packing import Encoded, encode
from evohpc.messages import LowRank, Tuning

SEQUENCE = 1024
MEBI = 2**20


def asked(count: int) -> Tuning:
    """Return the defaults of `TuningConfig`, one step an epoch."""
    return Tuning(examples(count), 16, 1, count, 0.1, 7, None)


def bare(lm: LanguageModel, encoded: list[Encoded], virtual: Tensor) -> None:
    """Run as many tokens forwards and backwards, without caring what they are."""
    tokens = sum(len(virtual) + len(example.ids) for example in encoded)
    share = sum(example.loss_weight for example in encoded) / tokens
    for length in [SEQUENCE] * (tokens // SEQUENCE) + [tokens % SEQUENCE]:
        inputs = lm.embed(torch.arange(length - len(virtual))[None])
        inputs = torch.cat([virtual[None].to(inputs.dtype), inputs], 1)
        places = torch.arange(int(share * length))
        logits = lm.model(inputs_embeds=inputs, logits_to_keep=places, use_cache=False).logits[0]
        torch.nn.functional.cross_entropy(logits.float(), places, reduction="sum").backward()


def padded(lm: LanguageModel, encoded: list[Encoded], virtual: Tensor) -> None:
    """Run the examples as a usual training loop does."""
    ordered = sorted(encoded, key=lambda example: -len(example.ids))
    for batch in (ordered[first : first + 4] for first in range(0, len(ordered), 4)):
        longest = max(len(example.ids) for example in batch)
        ids = torch.tensor([example.ids + [0] * (longest - len(example.ids)) for example in batch])
        inputs = torch.cat([virtual.to(lm.model.dtype).expand(len(batch), -1, -1), lm.embed(ids)], 1)
        seen = torch.tensor(
            [[1] * (len(virtual) + len(e.ids)) + [0] * (longest - len(e.ids)) for e in batch], dtype=torch.long
        )
        labels = torch.full(seen.shape, -100)
        for row, example in enumerate(batch):
            labels[row, len(virtual) + example.prompt : len(virtual) + len(example.ids)] = 0
        lm.model(inputs_embeds=inputs, attention_mask=seen, labels=labels, use_cache=False).loss.backward()


def seconds(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median CPU seconds of each way."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.process_time()
            way()
            times[name].append(time.process_time() - started)
            print(f"{name}: {times[name][-1]:.1f} s", flush=True)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory() -> float:
    """Return the most that this process held at once, in MiB; getrusage counts what its parent held at the fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--memory", action="store_true", help="only tune for a step, and print the peak of the memory")
    options = parser.parse_args()
    model.configure_torch(1)
    lm = model.load(options.model, "bfloat16")
    todo = asked(options.examples)
    if options.memory:
        tuning.tune(lm, todo, None, {})
        print(peak_memory())
        return
    encoded = [encode(lm, example) for example in todo.examples]
    virtual = soft_prompt.SoftPrompt(soft_prompt.initial(lm, todo, None))
    engine = tuning._engine(tuning._Trainee(lm, virtual), todo, {})
    plain = virtual.tokens.detach().clone().requires_grad_()
    taken = seconds(
        {
            "evohpc, a whole step": lambda: tuning._update(engine, lm.replica, encoded),
            "bare forward and backward": lambda: bare(lm, encoded, plain),
            "padded batches of 4": lambda: padded(lm, encoded, plain),
        },
        options.repeats,
    )
    with lora.attached(lm, LowRank(8, 16), 7, None) as factors:
        low_rank = tuning._engine(tuning._Trainee(lm, factors), todo, {})
        way = {"evohpc, a whole step, LoRA": lambda: tuning._update(low_rank, lm.replica, encoded)}
        taken |= seconds(way, options.repeats)
    tokens = sum(len(example.ids) for example in encoded)
    print(f"{len(encoded)} examples, {tokens} tokens and 16 virtual ones each")
    for name, value in taken.items():
        print(f"{name:28} {value:7.2f} s   {value / taken['bare forward and backward']:.2f}")
    weights = sum(weight.numel() * weight.element_size() for weight in lm.model.parameters()) / MEBI
    command = [sys.executable, __file__, "--memory", "--examples", str(options.examples), "--model", str(options.model)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    print(f"memory: weights {weights:.0f} MiB, peak of the whole process {float(printed):.0f} MiB")


if __name__ == "__main__":
    main()
