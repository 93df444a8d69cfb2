"""Whether tuning helps: `python benchmarks/soft_prompt.py UNTUNED TUNED`, the run folders of two searches.

Both have the same config and seed, but for `search.variant`: no_tuning in the first, evoprompting in the second. So
their rounds 0 are the same, and so are the prompts and the seeds of their rounds 1. Two things are compared there:

- the share of valid and novel children (trained, so neither refused, nor seen before, nor failed), with Wilson's 95 %
  interval for each, and for the difference one from resampling the prompts, as children of one prompt are alike;
- the loss of held-out children: those of the untuned search's round 1, which no tuning has seen and no tuned prompt has
  drawn, in the form that tuning shows them in; without a soft prompt, with the one that tuning started from, and with
  the tuned one. The interval of a difference is from resampling the children.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from evohpc import envelopes
from evohpc.evolution.prompts import Example, completion_target
from evohpc.lm import model, soft_prompt
from evohpc.lm.model import LanguageModel
from evohpc.lm.packing import encode
from evohpc.messages import Status, TaskInterface, TuningExample
from evohpc.report.reader import Reading
from evohpc.run_folder import RunDir, read_request

ROUND = 1
RESAMPLES = 10_000


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z, share = 1.96, successes / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return middle - half, middle + half


def resampled(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a mean, by resampling."""
    drawn = random.Random(0)
    means = sorted(statistics.fmean(drawn.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES)]


def outcomes(run: Path) -> dict[tuple[int, int], Status]:
    """Return what became of each completion of the round, by prompt and sample."""
    with Reading(run) as reading:
        found = [entry.candidate for entry in reading.store.entries(ROUND)]
        return {(candidate.prompt, candidate.sample): candidate.status for candidate in found}


def compare_shares(untuned: Path, tuned: Path) -> None:
    """Print the shares and their difference."""
    each = {"untuned": outcomes(untuned), "tuned": outcomes(tuned)}
    assert each["untuned"].keys() == each["tuned"].keys()
    for name, found in each.items():
        valid = sum(status is Status.TRAINED for status in found.values())
        low, high = wilson(valid, len(found))
        rest = ", ".join(f"{status} {count}" for status, count in sorted(Counter(found.values()).items()))
        print(
            f"{name:8} valid and novel {valid}/{len(found)} = {valid / len(found):.3f} [{low:.3f}, {high:.3f}]   {rest}"
        )
    prompts = sorted({prompt for prompt, _ in each["tuned"]})

    def share(name: str, prompt: int) -> float:
        statuses = [status for place, status in each[name].items() if place[0] == prompt]
        return statuses.count(Status.TRAINED) / len(statuses)

    tell("difference of the shares", [share("tuned", prompt) - share("untuned", prompt) for prompt in prompts])


def tell(what: str, values: Sequence[float]) -> None:
    """Print a mean with its interval."""
    low, high = resampled(values)
    print(f"{what}: {statistics.fmean(values):+.4f} [{low:+.4f}, {high:+.4f}], n = {len(values)}", flush=True)


def held_out(run: Path) -> list[TuningExample]:
    """Return the trained children of the round, as tuning would show them."""
    task = envelopes.decode(RunDir(run).task_interface.read_bytes(), TaskInterface)
    with Reading(run) as reading:
        shown = reading.config.prompt
        examples = []
        for entry in reading.store.entries(ROUND, Status.TRAINED):
            child, result = entry.candidate, entry.result
            assert result is not None, "it trained"
            assert result.num_params is not None, "it trained"
            example = Example(child.id, child.source, result.num_params, result.metrics[task.metric])
            examples.append(TuningExample(child.id, *completion_target(example, task, shown)))
        return examples


@torch.inference_mode()
def loss(lm: LanguageModel, example: TuningExample, virtual: Tensor) -> float:
    """Return the mean cross-entropy of a child's tokens."""
    encoded = encode(lm, example)
    inputs = torch.cat([virtual.to(lm.model.dtype), lm.embed(torch.tensor(encoded.ids))])[None]
    places = torch.arange(len(virtual) + encoded.prompt, inputs.shape[1]) - 1
    logits = lm.model(inputs_embeds=inputs, logits_to_keep=places, use_cache=False).logits[0]
    return torch.nn.functional.cross_entropy(logits.float(), torch.tensor(encoded.ids[encoded.prompt :])).item()


def losses(tuned: Path, examples: list[TuningExample]) -> dict[str, list[float]]:
    """Return each child's loss without a soft prompt, with what tuning started from, and with what it left."""
    round = RunDir(tuned).round(ROUND)
    request = read_request(round)
    assert request.tuning is not None
    model.configure_torch(request.threads)
    lm = model.load(Path(request.model_path), request.dtype)
    model.pack(lm.model)
    prompts = {
        "no soft prompt": lm.embed(torch.empty(0, dtype=torch.long)),
        "untuned": soft_prompt.initial(lm, request.tuning, None),
        "tuned": soft_prompt.load(round.adapter),
    }
    found: dict[str, list[float]] = {name: [] for name in prompts}
    for done, example in enumerate(examples, start=1):
        for name, virtual in prompts.items():
            found[name].append(loss(lm, example, virtual))
        print(f"\r{done}/{len(examples)} children", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("untuned", type=Path)
    parser.add_argument("tuned", type=Path)
    options = parser.parse_args()
    compare_shares(options.untuned, options.tuned)
    found = losses(options.tuned, held_out(options.untuned))
    for name, each in found.items():
        low, high = resampled(each)
        print(f"loss, {name}: {statistics.fmean(each):.4f} [{low:.4f}, {high:.4f}], n = {len(each)}")
        if name != "tuned":
            tell(f"loss, tuned minus {name}", [a - b for a, b in zip(found["tuned"], each, strict=True)])


if __name__ == "__main__":
    main()
