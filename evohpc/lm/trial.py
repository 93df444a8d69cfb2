"""What the language model does on the device of this process: `python -m evohpc.lm.trial MODEL`.

Prints one line of JSON: whether completions that are drawn alone and together agree, tokens/s beside transformers'
`generate`, a step of tuning beside a bare forward and backward pass of as many tokens, and the peak of the memory.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path

import torch

from evohpc.lm import model
from evohpc.lm.decoding import Decoder
from evohpc.lm.model import LanguageModel
from evohpc.lm.packing import encode
from evohpc.lm.tuning import tune
from evohpc.messages import Completion, Prompt, Sample, Sampling, Tuning, TuningExample

ROWS, ALONE = 32, 4
"""Completions that are drawn together, and how many of them alone, too."""
_TEMPERATURE = 0.8
_EXAMPLES, _VIRTUAL = 8, 16
_HEAD = "\"\"\"Metrics:\n{'num_params': '5200', 'val_accuracy': '0.87'}\n\"\"\"\nclass Model(nn.Module):\n"
_BODY = """    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 16, 5, stride=2, padding=1)
        self.linear = nn.Linear(16 * 19, 10)

    def forward(self, x):
        x = torch.relu(self.conv(x.view(-1, 1, 40)))
        return self.linear(x.flatten(1))
"""


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="evohpc.lm.trial")
    parser.add_argument("model", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--tokens", type=int, default=128, help="of a completion, at most")
    options = parser.parse_args()
    print(json.dumps(measured(options.model, options.dtype, options.tokens)))
    return 0


def measured(folder: Path, dtype: str, tokens: int) -> dict[str, float | str]:
    """Return all that is measured, by name; times in seconds, memory in MiB.

    Raises:
        LMError: the folder holds no model that can be used.
        TuningFailed: the tuning did.
    """
    model.configure_torch(0)
    lm = model.load(folder, dtype)
    found: dict[str, float | str] = {"device": str(lm.device), "dtype": str(lm.model.dtype).removeprefix("torch.")}
    found |= _tuned(lm)
    generated = _generated(model.load(folder, dtype), tokens)
    model.pack(lm.model, ROWS)
    together, seconds = _drawn(lm, ROWS, ROWS, tokens)
    alone, _ = _drawn(lm, ALONE, 1, tokens)
    drawn = sum(completion.tokens for completion in together) / seconds
    return {
        **found,
        "agree": _agreement(alone, together),
        "tokens_per_s": round(drawn, 1),
        "against_generate": round(drawn / generated, 2),
        "peak_mib": round(_peak(lm.device)),
    }


def _tuned(lm: LanguageModel) -> dict[str, float]:
    examples = tuple(TuningExample(f"e{number}", _HEAD, _BODY) for number in range(_EXAMPLES))
    todo = Tuning(examples, _VIRTUAL, 3, _EXAMPLES, 0.1, 7, None)
    times = [time.monotonic()]
    tune(lm, todo, None, {}, lambda step: times.append(time.monotonic()))
    bare = min(_timed(lm.device, lambda: _bare(lm, todo)) for _ in range(2))
    step = times[-1] - times[-2]  # the first one warms up
    return {"tuning_step_s": round(step, 3), "against_bare": round(step / bare, 2)}


def _bare(lm: LanguageModel, todo: Tuning) -> None:
    """Run as many tokens forwards and backwards."""
    shown = encode(lm, todo.examples[0]).ids
    ids = torch.tensor([[*shown[:_VIRTUAL], *shown]] * _EXAMPLES, device=lm.device)
    inputs = lm.embed(ids).detach().requires_grad_()
    lm.model(inputs_embeds=inputs, labels=ids, use_cache=False).loss.backward()


def _generated(plain: LanguageModel, tokens: int) -> float:
    """Return the tokens/s of transformers' own `generate`."""
    plain.model.set_attn_implementation("sdpa")
    ids = plain.tokenizer(_HEAD, return_tensors="pt").input_ids.to(plain.device)
    options = {"do_sample": True, "temperature": _TEMPERATURE, "top_k": 0, "num_return_sequences": ROWS}
    options |= {"min_new_tokens": tokens, "max_new_tokens": tokens, "pad_token_id": plain.tokenizer.eos_token_id}
    taken = min(_timed(plain.device, lambda: plain.model.generate(ids, **options)) for _ in range(2))
    return ROWS * tokens / taken


def _drawn(lm: LanguageModel, samples: int, rows: int, tokens: int) -> tuple[list[Completion], float]:
    """Return completions in the order of their samples, and the seconds that they took."""
    prompt = Prompt(0, _HEAD, (), tuple(Sample(index, index, _TEMPERATURE) for index in range(samples)))
    started = time.monotonic()
    found = [one for ended in Decoder(lm, None, Sampling(rows, tokens)).draw([prompt]) for one in ended]
    return sorted(found, key=lambda completion: completion.sample), time.monotonic() - started


def _agreement(alone: Sequence[Completion], together: Sequence[Completion]) -> float:
    """Return the mean share of the text that is the same from its beginning on."""
    shares = [_common(one.text, other.text) for one, other in zip(alone, together, strict=False)]
    return round(sum(shares) / len(shares), 3)


def _common(one: str, other: str) -> float:
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    return 1.0 if one == other else same / max(len(one), len(other))


def _timed(device: torch.device, work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic() - started


def _peak(device: torch.device) -> float:
    """Return the most MiB that were in use: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    raise SystemExit(main())
