"""Our network against the arrays that `reference.py` wrote under JAX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from evohpc.tasks.clrs import losses, metrics, sampling
from evohpc.tasks.clrs.features import features
from evohpc.tasks.clrs.network import Network, Tensors
from support.clrs.clrs_candidates import SEEDS, load_candidate
from support.clrs.haiku_weights import load_haiku

TOLERANCE = 1e-4
DATA_SEED = 7
TEXT_SIZE = 16
"""Makes texts of 20 characters, whatever the size of others."""


def compare(file: Path, hidden: int, count: int, size: int) -> None:
    """Assert that predictions, losses and score of one algorithm are dm-clrs's."""
    algorithm, expected = file.stem, load_file(file)
    of = features(algorithm)
    network = Network(of, hidden, load_candidate(SEEDS / "v1_standard.py").Triplets(8, hidden))
    load_haiku(network, expected)
    network.eval()
    drawn = next(
        sampling.training_batches(algorithm, DATA_SEED, count, (TEXT_SIZE if "matcher" in algorithm else size,))
    )
    batch = Tensors.of(drawn)
    with torch.no_grad():
        predictions = network(batch)
        answers = {name: found.numpy() for name, found in network.answers(batch).items()}
    lengths = expected["lengths"].astype(int)
    order = np.argsort(-lengths, kind="stable")
    np.testing.assert_array_equal(drawn.lengths, lengths[order])
    wanted = SimpleNamespace(order=order, alive=lengths[order] > np.arange(1, lengths.max())[:, None])
    _compare_logits(network, predictions, expected, wanted)
    _compare_losses(network, predictions, batch, expected)
    truth = metrics.truths(of, drawn.outputs)
    assert metrics.score(of, answers, truth) == pytest.approx(float(expected["score"][0]), abs=1e-6)


def _compare_logits(
    network: Network, predictions: Any, expected: Mapping[str, np.ndarray], wanted: SimpleNamespace
) -> None:
    for each in network.outputs:
        _close(predictions.outputs[each.name], expected[f"output/{each.name}"][wanted.order], each.name)
    for each in network.hints:
        steps = expected[f"hint/{each.name}"][:, wanted.order]
        _close(predictions.hints[each.name], steps[wanted.alive], each.name)


def _compare_losses(network: Network, predictions: Any, batch: Tensors, expected: Mapping[str, np.ndarray]) -> None:
    for each in network.outputs:
        found = losses.output_loss(each, predictions.outputs[each.name], batch.outputs[each.name])
        _close(found[None], expected[f"loss/{each.name}"], f"loss of {each.name}")
    for each in network.hints:
        found = losses.hint_loss(each, predictions.hints[each.name], losses.next_hints(batch, each))
        _close(found[None], expected[f"hint_loss/{each.name}"], f"loss of {each.name}")
    if "loss_in_training" in expected:
        _close(losses.loss(network, predictions, batch)[None], expected["loss_in_training"], "loss")


def _close(found: torch.Tensor, expected: np.ndarray, what: str) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)
