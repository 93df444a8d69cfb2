"""Prompts and tuning examples of a search on MNIST-1D, for the benchmarks of the language model."""

from __future__ import annotations

from pathlib import Path

from evohpc.messages import Prompt, Sample, TuningExample

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "models" / "qwen2.5-coder-0.5b-instruct"
TEMPERATURES = (0.2, 0.6, 0.8, 1.0)
_METRICS = "\"\"\"Metrics:\n{{'num_params': '{}', 'val_accuracy': '0.{}'}}\n\"\"\"\nclass Model(nn.Module):\n"


def prompts(count: int, samples: int) -> list[Prompt]:
    """Return few-shot prompts of two seeds each."""
    codes = bodies()
    made = []
    for index in range(count):
        one, two = codes[index % len(codes)], codes[(index + 1 + index // len(codes)) % len(codes)]
        shown = f"{_metrics(index)}{one}\n{_metrics(index + 1)}{two}\n{_metrics(index + 2)}"
        drawn = tuple(Sample(j, 1000 * index + j, TEMPERATURES[j % len(TEMPERATURES)]) for j in range(samples))
        made.append(Prompt(index, shown, (), drawn))
    return made


def examples(count: int) -> tuple[TuningExample, ...]:
    """Return seeds under different metrics."""
    codes = bodies()
    return tuple(TuningExample(f"e{index}", _metrics(index), codes[index % len(codes)]) for index in range(count))


def _metrics(index: int) -> str:
    return _METRICS.format(100 * (41 + 7 * index), 600 + 13 * index % 400)


def bodies() -> list[str]:
    """Return the seeds' classes without their first lines."""
    texts = [path.read_text() for path in sorted((ROOT / "seeds" / "mnist1d").glob("*.py"))]
    return [text.partition("class Model(nn.Module):\n")[2].rstrip() + "\n" for text in texts]
