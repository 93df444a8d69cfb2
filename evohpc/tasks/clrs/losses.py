"""The loss of one batch: that of the outputs at a run's end, and that of the hints at each of its steps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from evohpc.tasks.clrs.features import Feature
from evohpc.tasks.clrs.network import Network, Predictions, Tensors

_TINY = 1e-12


def loss(network: Network, predictions: Predictions, batch: Tensors) -> Tensor:
    """Return the sum of all features' mean losses, a scalar."""
    outputs = [output_loss(each, predictions.outputs[each.name], batch.outputs[each.name]) for each in network.outputs]
    hints = [hint_loss(each, predictions.hints[each.name], next_hints(batch, each)) for each in network.hints]
    return torch.stack(outputs + hints).sum()


def output_loss(feature: Feature, logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean loss of an output, whose truth has the shape of the feature; masked entries do not count."""
    if feature.kind in ("mask_one", "categorical"):
        entropy = -(truth * (truth != -1) * logits.log_softmax(-1)).sum()
        return entropy / (truth == 1).sum()
    loss, weight = _elementwise(feature, logits, truth)
    return loss.mean() if weight is None else (loss * weight).sum() / weight.sum()


def hint_loss(feature: Feature, logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean loss of a hint over all steps and runs, given as one axis."""
    loss, weight = _elementwise(feature, logits, truth)
    if weight is None:
        return loss.sum() / max(loss.numel(), _TINY)
    return (loss * weight).sum() / weight.sum().clamp(min=_TINY)


def _elementwise(feature: Feature, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return losses, and weights where not all count alike."""
    if feature.kind == "scalar":
        return (logits - truth) ** 2, None
    if feature.kind == "mask":
        return F.binary_cross_entropy_with_logits(logits, truth, reduction="none"), (truth != -1).float()
    if feature.kind == "pointer":
        return -_at(logits.log_softmax(-1), truth), None
    if feature.kind == "permutation_pointer":
        return -_at(logits, truth), None
    entropy = -(truth * logits.log_softmax(-1)).sum(-1)
    return entropy, (truth == 1).any(-1).float() if feature.kind == "categorical" else None


def _at(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(-1, index[..., None]).squeeze(-1)


def next_hints(batch: Tensors, feature: Feature) -> Tensor:
    """Return the truth of what each step predicts: the next hint of the runs still alive, one step after the other."""
    truth = batch.hints[feature.name]
    alive = np.flatnonzero(batch.lengths > np.arange(1, len(truth))[:, None])
    return truth[1:].flatten(0, 1)[torch.from_numpy(alive).to(truth.device)]
