"""What a tuning trains beside the frozen model: a soft prompt or a LoRA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from evohpc.errors import LMError
from evohpc.lm import lora, peft_folder, soft_prompt
from evohpc.lm.model import LanguageModel
from evohpc.messages import Tuning

Adapter = Tensor | lora.Update
"""The virtual tokens of a soft prompt, [virtual tokens, hidden size], or a LoRA."""

InTraining = soft_prompt.SoftPrompt | lora.LoRA


def load(folder: Path) -> Adapter:
    """Return the adapter of a folder.

    Raises:
        LMError: it is missing, damaged, or of a kind that evohpc does not tune.
    """
    kind = peft_folder.read(folder)[0]["peft_type"]
    if kind == "LORA":
        return lora.load(folder)
    if kind == "PROMPT_TUNING":
        return soft_prompt.load(folder)
    raise LMError(f"{folder} holds an adapter of the kind {kind}; evohpc knows PROMPT_TUNING and LORA")


def save(adapter: Adapter, folder: Path, model: str) -> None:
    """Write an adapter folder that peft can load, whole or not at all.

    Args:
        model: folder of the model that it was tuned with.

    Raises:
        StorageError: the file system refused.
    """
    if isinstance(adapter, lora.Update):
        lora.save(adapter, folder, model)
    else:
        soft_prompt.save(adapter, folder, model)


@contextmanager
def in_training(lm: LanguageModel, tuning: Tuning, start: Adapter | None) -> Iterator[InTraining]:
    """Yield the adapter that a tuning trains, in the model for as long as that takes.

    Args:
        start: what to continue from; None starts a soft prompt from sampled vocabulary, and a LoRA from nothing.

    Raises:
        LMError: `start` is of another kind or shape.
    """
    if tuning.lora is None:
        if isinstance(start, lora.Update):
            raise LMError("the last adapter is a LoRA, tuning.method asks for a soft prompt")
        yield soft_prompt.SoftPrompt(soft_prompt.initial(lm, tuning, start))
        return
    if isinstance(start, Tensor):
        raise LMError("the last adapter is a soft prompt, tuning.method asks for a LoRA")
    with lora.attached(lm, tuning.lora, tuning.seed, start) as update:
        yield update


def is_finite(adapter: Adapter) -> bool:
    """Say whether all its numbers are."""
    weights = adapter.weights.values() if isinstance(adapter, lora.Update) else (adapter,)
    return all(bool(torch.isfinite(weight).all()) for weight in weights)
