"""The MNIST-1D data set (Greydanus 2020, arXiv 2011.14439), made offline in numpy.

Ten hand-drawn curves of 12 points, one per digit, each padded, stretched, scaled, shifted, covered in noise, sheared
and resampled to 40 points. Equal in float32 to the published set (seed 42: 4000 training and 1000 test samples); its
generator draws from numpy's legacy `RandomState` in an order that is part of the data set.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SAMPLES, TRAIN, POINTS, CLASSES = 5000, 4000, 40, 10
_SEED = 42
_PADDING = (36, 60)
_STRETCHED = 72
_SCALE, _MAX_SHIFT, _SHEAR = 0.4, 48, 0.75
_SMOOTH_NOISE, _WHITE_NOISE = 0.25, 0.02
_SIGMA = 2
_TINY = 1e-8
"""Added to the curve so that no point of it is zero, which marks padding."""

_CURVES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)


def make() -> tuple[Array, Array]:
    """Return x, float32 of shape (5000, 40), and y, int64 of shape (5000,); the first 4000 are for training."""
    x, y = _drawn(_SEED)
    return ((x - x.mean()) / x.std()).astype(np.float32), y


def more(secret: int, count: int) -> tuple[Array, Array]:
    """Return further samples, drawn and normalised as the published ones: x of shape (count, 40), y of (count,).

    Args:
        secret: a seed of any size.
        count: at most 5000.
    """
    published, _ = _drawn(_SEED)
    x, y = _drawn(np.random.SeedSequence(secret).generate_state(8))
    return ((x[:count] - published.mean()) / published.std()).astype(np.float32), y[:count]


def _drawn(seed: int | Array) -> tuple[Array, Array]:
    """Return 5000 samples, not normalised, and their labels."""
    draw = np.random.RandomState(seed)
    signal = np.empty((SAMPLES, _STRETCHED))
    smooth, white = np.empty_like(signal), np.empty_like(signal)
    slope = np.empty(SAMPLES)
    labels = np.repeat(np.arange(CLASSES), SAMPLES // CLASSES)
    for index, curve in enumerate(_standard_curves()[labels]):
        signal[index] = _stretched(curve, draw)
        smooth[index], white[index] = draw.randn(_STRETCHED), draw.randn(_STRETCHED)
        slope[index] = draw.rand()
    noisy = np.where(signal != 0, signal, _smoothed(_SMOOTH_NOISE * smooth)) + _WHITE_NOISE * white
    sheared = noisy - np.outer(_SHEAR * (slope - 0.5), np.linspace(-0.5, 0.5, _STRETCHED))
    order = draw.permutation(SAMPLES)
    return _resampled(sheared)[order], labels[order].astype(np.int64)


def _standard_curves() -> Array:
    curves = np.array(_CURVES, dtype=float)
    curves -= curves.mean(1, keepdims=True)
    curves /= curves.std(1, keepdims=True)
    return np.asarray((curves - curves[:, :1]) / 6)


def _stretched(curve: Array, draw: np.random.RandomState) -> Array:
    """Return the curve padded by a random length, stretched to a fixed one, scaled and shifted."""
    low, high = _PADDING
    padded = np.concatenate([curve + _TINY, np.zeros(low + int(draw.rand() * (high - low + 1)))])
    stretched = np.interp(np.linspace(0, 1, _STRETCHED), np.linspace(0, 1, len(padded)), padded)
    stretched *= 1 + _SCALE * (draw.rand() - 0.5)
    return np.roll(stretched, draw.choice(_MAX_SHIFT))


def _smoothed(noise: Array) -> Array:
    """Return each row convolved with a Gaussian, reflected at its ends, cut at four standard deviations."""
    reach = 4 * _SIGMA
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SIGMA) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(noise, ((0, 0), (reach, reach)), mode="symmetric")
    smoothed = np.zeros_like(noise)
    for offset, weight in enumerate(kernel):  # not a matrix product: its order of summation depends on the machine
        smoothed += weight * padded[:, offset : offset + noise.shape[1]]
    return smoothed


def _resampled(rows: Array) -> Array:
    """Return each row interpolated at POINTS equally spaced places."""
    place = np.linspace(0, 1, POINTS) * (rows.shape[1] - 1)
    left = np.minimum(place.astype(int), rows.shape[1] - 2)
    share = place - left
    return np.asarray(rows[:, left] * (1 - share) + rows[:, left + 1] * share)
