"""LoRA (Hu et al. 2021): an update of low rank to every linear layer but the last, kept as a peft adapter.

To generate, it is added to the weights once, so that it costs nothing from then on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from evohpc.errors import LMError
from evohpc.lm import peft_folder
from evohpc.lm.model import LanguageModel
from evohpc.messages import LowRank

if TYPE_CHECKING:
    from peft import LoraConfig, LoraModel

_NAME = "default"
"""What peft calls an adapter that nobody named."""


@dataclass(frozen=True)
class Update:
    """A tuned LoRA."""

    shape: LowRank
    weights: dict[str, Tensor]
    """The factors of each update, float32, by peft's names."""


class LoRA(nn.Module):
    """A LoRA in a model, to be trained.

    Shape: () -> [1, 0, hidden size]: no virtual tokens.
    """

    def __init__(self, lm: LanguageModel, shape: LowRank) -> None:
        """Take the model that it is in, and its shape."""
        super().__init__()
        self._lm, self._shape = (lm,), shape
        self.factors = nn.ParameterList(_factors(lm).values())

    def forward(self) -> Tensor:
        (lm,) = self._lm
        return lm.embed(torch.empty(1, 0, dtype=torch.long))

    def tuned(self) -> Update:
        """Return a copy of the factors."""
        (lm,) = self._lm
        return Update(self._shape, {name: factor.detach().float().clone() for name, factor in _factors(lm).items()})


def load(folder: Path) -> Update:
    """Return the LoRA of an adapter folder.

    Raises:
        LMError: it is missing, damaged, or no LoRA.
    """
    settings, weights = peft_folder.read(folder)
    try:
        return Update(LowRank(settings["r"], settings["lora_alpha"]), weights)
    except KeyError as error:
        raise LMError(f"{folder} holds no LoRA: its settings lack {error}") from None


def save(update: Update, folder: Path, model: str) -> None:
    """Write an adapter folder that peft can load, whole or not at all.

    Args:
        model: folder of the model that it was tuned with.

    Raises:
        StorageError: the file system refused.
    """
    config = _config(update.shape)
    config.base_model_name_or_path = model
    config.inference_mode = True
    peft_folder.write(folder, config, update.weights)


@contextmanager
def attached(lm: LanguageModel, shape: LowRank, seed: int, start: Update | None) -> Iterator[LoRA]:
    """Put a LoRA into a model for as long as it is trained.

    Args:
        seed: of its first weights, with which it changes nothing yet.
        start: what to continue from instead.

    Raises:
        LMError: the model cannot take it, or `start` has another shape.
    """
    if start is not None and start.shape != shape:
        raise LMError(f"the last LoRA has {_told(start.shape)}, tuning asks for {_told(shape)}")
    with _inside(lm, shape, seed):
        if start is not None:
            _fill(lm, start)
        yield LoRA(lm, shape)


def merge(lm: LanguageModel, update: Update) -> None:
    """Add a LoRA to the weights of a model, in place.

    Raises:
        LMError: the model cannot take it.
    """
    with _inside(lm, update.shape, seed=0) as layers:
        _fill(lm, update)
        layers.merge_adapter()


@contextmanager
def _inside(lm: LanguageModel, shape: LowRank, seed: int) -> Iterator[LoraModel]:
    """Put peft's layers around those of a model."""
    from peft import LoraModel

    if lm.is_partitioned:
        raise LMError("tuning.method lora needs the whole model on each rank: take another ZeRO stage than 3")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = LoraModel(lm.model, _config(shape), _NAME)
    for factor in _factors(lm).values():  # in bfloat16 most steps of a low rate would round to nothing
        factor.data = factor.data.float()
    try:
        yield layers
    finally:
        layers.unload()
        lm.model.requires_grad_(False)


def _factors(lm: LanguageModel) -> dict[str, nn.Parameter]:
    """Return the factors that are in a model, by the names that they have in peft's file."""
    found = {name: weight for name, weight in lm.model.named_parameters() if f".{_NAME}." in name}
    return {f"base_model.model.{name.replace(f'.{_NAME}.', '.')}": weight for name, weight in found.items()}


@torch.no_grad()
def _fill(lm: LanguageModel, update: Update) -> None:
    factors = _factors(lm)
    strange = sorted(factors.keys() ^ update.weights.keys())
    strange += [
        name for name in factors.keys() & update.weights.keys() if factors[name].shape != update.weights[name].shape
    ]
    if strange:
        raise LMError(f"the last LoRA is of another model; they differ in {strange[0]}")
    for name, factor in factors.items():
        factor.copy_(update.weights[name])


def _config(shape: LowRank) -> LoraConfig:
    from peft import LoraConfig, TaskType

    everywhere, kind = "all-linear", TaskType.CAUSAL_LM
    return LoraConfig(task_type=kind, r=shape.rank, lora_alpha=shape.alpha, target_modules=everywhere)


def _told(shape: LowRank) -> str:
    return f"rank {shape.rank} and alpha {shape.alpha:g}"
