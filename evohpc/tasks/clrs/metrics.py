"""The CLRS score, in numpy: what is compared are answers, node and class indices and 0 or 1, never logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evohpc.tasks.clrs.features import Feature, answers, first_node_mark

Array = np.ndarray[Any, Any]


def truths(of: tuple[Feature, ...], outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the right answers of a batch's outputs, int32; -1 marks what is not scored."""
    return {feature.name: _truth(feature, outputs).astype(np.int32) for feature in answers(of)}


def _truth(feature: Feature, outputs: Mapping[str, Array]) -> Array:
    output = outputs[feature.name]
    if feature.kind in ("mask_one", "categorical"):
        return np.where((output == -1).any(-1), -1, output.argmax(-1))
    if feature.kind == "permutation_pointer":
        return np.where(outputs[first_node_mark(feature)] > 0, np.arange(output.shape[1]), output)
    return output


def score(of: tuple[Feature, ...], predicted: Mapping[str, Array], truth: Mapping[str, Array]) -> float:
    """Return the mean over the outputs of the F1 of masks and the share of right answers of all others, in [0, 1].

    Raises:
        ValueError: a prediction has not the shape or dtype of its truth.
    """
    return float(np.mean([_score(each, predicted.get(each.name), truth[each.name]) for each in answers(of)]))


def _score(feature: Feature, predicted: Array | None, truth: Array) -> float:
    if predicted is None or predicted.shape != truth.shape or predicted.dtype != truth.dtype:
        found = "nothing" if predicted is None else f"{predicted.dtype} {predicted.shape}"
        raise ValueError(f"'{feature.name}' must be {truth.dtype} {truth.shape}, it is {found}")
    scored = truth != -1
    if feature.kind == "mask":
        return _f1(predicted[scored] > 0, truth[scored] > 0)
    return float((predicted[scored] == truth[scored]).mean())


def _f1(predicted: Array, truth: Array) -> float:
    """Return the harmonic mean of precision and recall; what is empty is precise, and complete."""
    hits = (predicted & truth).sum()
    precision = hits / predicted.sum() if predicted.any() else 1.0
    recall = hits / truth.sum() if truth.any() else 1.0
    return float(2 * precision * recall / (precision + recall)) if hits or precision + recall else 0.0
