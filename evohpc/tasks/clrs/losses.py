"""The loss of one batch: of the outputs at the end of each run, and of the hints at each of its steps.

Equal to dm-clrs's losses. Shapes: `n` is the number of nodes; what a feature adds to (batch,) is said in `Feature`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from evohpc.tasks.clrs.features import Feature
from evohpc.tasks.clrs.network import Network, Predictions, Tensors

_TINY = 1e-12


def loss(network: Network, predictions: Predictions, batch: Tensors) -> Tensor:
    """Return the sum over all outputs and hints of their mean loss, a tensor of shape ().

    Args:
        network: gives the features; it is not called.
        predictions: of the same batch, with hints.
        batch: sorted by falling length, as `Network.forward` takes it.

    Raises:
        KeyError: the predictions lack a feature, as the hints of `forward(keep_hints=False)`.
    """
    outputs = [output_loss(each, predictions.outputs[each.name], batch.outputs[each.name]) for each in network.outputs]
    hints = [hint_loss(each, predictions.hints[each.name], next_hints(batch, each)) for each in network.hints]
    return torch.stack(outputs + hints).sum()


def output_loss(feature: Feature, logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean loss of an output, a tensor of shape (). Entries whose truth is -1 do not count.

    Args:
        feature: the output.
        logits: (batch, ...) as the decoder returns them; a pointer's have a last axis of n nodes.
        truth: (batch, ...) of the feature's shape; a pointer's are node indices, int64.
    """
    if feature.kind in ("mask_one", "categorical"):
        entropy = -(truth * (truth != -1) * logits.log_softmax(-1)).sum()
        return entropy / (truth == 1).sum()
    loss, weight = _elementwise(feature, logits, truth)
    return loss.mean() if weight is None else (loss * weight).sum() / weight.sum()


def hint_loss(feature: Feature, logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean loss of a hint, a tensor of shape (); 0 where no step counts.

    Args:
        feature: the hint.
        logits: (steps * runs, ...) as in `Predictions.hints`.
        truth: (steps * runs, ...) as `next_hints` returns it.
    """
    loss, weight = _elementwise(feature, logits, truth)
    if weight is None:
        return loss.sum() / max(loss.numel(), _TINY)
    return (loss * weight).sum() / weight.sum().clamp(min=_TINY)


def _elementwise(feature: Feature, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the loss of each entry, and the weight of each, or None where all weigh the same."""
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
    """Return the element of the last axis, (..., n), that the index (...) names: (...)."""
    return values.gather(-1, index[..., None]).squeeze(-1)


def next_hints(batch: Tensors, feature: Feature) -> Tensor:
    """Return what the steps of a batch should predict of a hint, (steps * runs, ...): for each step, one after the
    other, the hint of the next step, of the runs that have one. It is in the order of `Predictions.hints`.

    Args:
        batch: its hints are (steps, batch, ...).
        feature: the hint.
    """
    truth = batch.hints[feature.name]
    # Step t predicts the hint of t + 1, which a run has if its length is above that: (steps - 1, batch), row by row.
    alive = np.flatnonzero(batch.lengths > np.arange(1, len(truth))[:, None])
    return truth[1:].flatten(0, 1)[torch.from_numpy(alive).to(truth.device)]
