import math

import numpy as np
import pytest
import torch

from evohpc.errors import LMError
from evohpc.lm.sampling import distribution, draw, uniforms


def test_noise_depends_on_the_seed_alone() -> None:
    assert uniforms(3, 5) == uniforms(3, 9)[:5]
    assert uniforms(3, 5) != uniforms(4, 5)


def test_the_distribution_is_softmax_of_scaled_logits() -> None:
    logits = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
    got = distribution(logits, torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(got, torch.stack([(logits[0] * 2).softmax(-1), (logits[1] / 2).softmax(-1)]))


def test_temperature_zero_is_greedy() -> None:
    assert distribution(torch.tensor([[1.0, 1.5]]), torch.tensor([0.0])).tolist() == [[0, 1]]


def test_top_k_keeps_k() -> None:
    got = distribution(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), torch.ones(1), top_k=2)
    assert (got > 0).tolist() == [[False, True, True, False]]
    assert got.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, 1), (0.6, 2), (0.95, 3), (1.0, 4)])
def test_top_p_keeps_the_smallest_sufficient_set(top_p: float, kept: int) -> None:
    logits = torch.tensor([[0.1, 0.5, 0.05, 0.35]]).log()
    got = distribution(logits, torch.ones(1), top_p=top_p)
    assert (got > 0).sum().item() == kept
    assert got.sum().item() == pytest.approx(1)


def test_draws_have_the_frequencies_of_the_distribution() -> None:
    weights = torch.rand(1300, generator=torch.Generator().manual_seed(0)) ** 8
    weights[::3] = 0
    noise = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    tokens = torch.cat([draw(weights.expand(len(part), -1), part) for part in torch.split(noise, 5000)])
    frequencies = np.bincount(tokens.numpy(), minlength=1300) / 100_000
    np.testing.assert_allclose(frequencies, (weights / weights.sum()).numpy(), atol=2e-5)


@pytest.mark.parametrize("spoilt", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_named(spoilt: float) -> None:
    logits = torch.zeros(2, 5000)
    logits[1, 4000] = spoilt
    weights = distribution(logits, torch.tensor([1.0, 1.0]))
    with pytest.raises(LMError, match=r"logits are not finite, as of some models in lm\.dtype float16"):
        draw(weights, torch.tensor([0.5, 0.5], dtype=torch.float64))


def test_no_draw_is_impossible_even_at_the_ends() -> None:
    weights = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]])
    assert draw(weights, torch.tensor([0.0], dtype=torch.float64)).item() == 1
    assert draw(weights, torch.tensor([1.0], dtype=torch.float64)).item() == 3
