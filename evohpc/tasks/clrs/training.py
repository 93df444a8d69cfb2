"""The training loop of the single-task recipe (Ibarz et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from evohpc.tasks.clrs.batch import Batch
from evohpc.tasks.clrs.linear import haiku_defaults
from evohpc.tasks.clrs.losses import loss
from evohpc.tasks.clrs.network import Network, Tensors
from evohpc.tasks.optimizer import adamw


@dataclass(frozen=True, slots=True)
class Recipe:
    """See the fields of the same names in `Clrs30`."""

    steps: int
    learning_rate: float
    weight_decay: float
    max_grad_norm: float
    eval_every: int


def start(model: nn.Module, first: Batch, device: torch.device) -> float:
    """Materialise lazy modules with a forward and a backward pass that change no weight; return the loss."""
    model.to(device).train()
    with haiku_defaults():
        found = batch_loss(model, first, device)
    found.backward()  # type: ignore[no-untyped-call]
    model.zero_grad()
    return found.item()


def optimise(
    model: nn.Module, batches: Iterator[Batch], device: torch.device, recipe: Recipe
) -> Iterator[dict[str, float]]:
    """Train in place; yield the curve's point every `eval_every` steps and at the end."""
    weights = list(model.parameters())
    optimizer = adamw(weights, recipe.learning_rate, recipe.weight_decay)
    for step in range(1, recipe.steps + 1):
        optimizer.zero_grad()
        found = batch_loss(model, next(batches), device)
        found.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, recipe.max_grad_norm)
        optimizer.step()
        if step % recipe.eval_every == 0 or step == recipe.steps:
            yield {"step": float(step), "loss": found.item()}


def batch_loss(model: nn.Module, batch: Batch, device: torch.device) -> Tensor:
    """Return the loss of one batch."""
    network, tensors = cast(Network, model), Tensors.of(batch, device)
    return loss(network, network(tensors), tensors)
