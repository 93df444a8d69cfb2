"""Batches of algorithm runs, drawn as the published recipe draws them (Ibarz et al. 2022).

Training batches are sampled on line, the sizes in turn, with random edge densities and random node positions. The test
set is the published one: seed 3, 64 nodes, dm-clrs's default options. The same seed gives dm-clrs's own data.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from itertools import cycle, pairwise
from typing import Any

import numpy as np

from evohpc.tasks.clrs import upstream
from evohpc.tasks.clrs.batch import Array, Batch, training_sizes
from evohpc.tasks.clrs.features import FIXED_PRED

TEST_SIZE, TEST_SEED = 64, 3
_SPLIT_SAMPLES = 32
"""Samples of the published validation and test sets, times the algorithm's multiplier."""
_MAX_NEEDLE = 8
_CHUNK = 32
_SPARSE = ("articulation_points", "bridges", "mst_kruskal")


class Sampler:
    """Draws runs of one algorithm at one size."""

    def __init__(self, algorithm: str, size: int, seed: int | Array, **options: object) -> None:
        clrs = upstream.load()
        self.algorithm = algorithm
        self._sampler = clrs.samplers[algorithm](
            getattr(clrs.algorithms, algorithm),
            clrs.specs.SPECS[algorithm],
            -1,
            seed=seed,
            track_max_steps=False,
            length=size,
            **options,
        )

    def draw(self, count: int) -> Any:
        """Return the next runs as dm-clrs's `Feedback`, in the order drawn."""
        return self._sampler.next(count)

    def take(self, count: int, positions: np.random.RandomState | None = None) -> Batch:
        """Return the next runs; `positions` replaces the evenly spaced node positions by random ones."""
        drawn = self.draw(count)
        inputs = {point.name: _typed(point) for point in drawn.features.inputs}
        hints = {point.name: _typed(point) for point in drawn.features.hints}
        outputs: dict[str, Array] = {}
        for point in drawn.outputs:
            outputs |= _permutation(point) if point.type_ == "should_be_permutation" else {point.name: _typed(point)}
        if positions is not None:
            inputs["pos"] = _random_positions(inputs["pos"], positions)
        if self.algorithm in FIXED_PRED:
            inputs["pred"] = hints.pop("pred_h")[0]
        return Batch(inputs, hints, outputs, drawn.features.lengths.astype(np.int64)).sorted()[0]


def training_batches(algorithm: str, seed: int, batch_size: int, sizes: tuple[int, ...]) -> Iterator[Batch]:
    """Yield training batches without end. `sizes` are cycled through."""
    rng = np.random.RandomState(seed)
    samplers = [
        Sampler(algorithm, size, rng.randint(2**32), **recipe_options(algorithm))
        for size in training_sizes(algorithm, sizes)
    ]
    for sampler in cycle(samplers):
        yield sampler.take(batch_size, positions=rng)


def validation_set(algorithm: str, seed: int | Array, size: int, samples: int | None = None) -> Batch:
    """Draw as in training, at one size. dm-clrs validates on draws with replacement from as many samples.

    Args:
        seed: of 32 bits; or several of these.
    """
    rng = np.random.RandomState(seed)
    own = rng.randint(2**32, size=None if isinstance(seed, int) else len(seed))
    count = 2 * published_samples(algorithm) if samples is None else samples
    sampler = Sampler(algorithm, training_sizes(algorithm, (size,))[0], own, **recipe_options(algorithm))
    return _without_hints(sampler, count, rng)


def held_out_set(algorithm: str, samples: int | None = None, size: int = TEST_SIZE) -> Batch:
    """Return the published test set, or its first `samples`, out of distribution at 64 nodes."""
    count = published_samples(algorithm) if samples is None else samples
    return _without_hints(Sampler(algorithm, size, TEST_SEED), count, None)


def published_samples(algorithm: str) -> int:
    """Return the size of the published validation and test sets: more where a run has few outputs."""
    settings = upstream.load().specs.CLRS_30_ALGS_SETTINGS[algorithm]
    return _SPLIT_SAMPLES * int(settings["num_samples_multiplier"])


def recipe_options(algorithm: str) -> dict[str, object]:
    """Return the options of an algorithm's sampler in training: random edge densities and needle lengths."""
    density = tuple(0.1 + 0.1 * i for i in range(9))
    if algorithm in _SPARSE:  # or their runs get very long
        density = tuple(p / 2 for p in density)
    options = {"p": density, "length_needle": -_MAX_NEEDLE}
    taken = inspect.signature(upstream.load().samplers[algorithm]._sample_data).parameters
    return {name: value for name, value in options.items() if name in taken}


def _without_hints(sampler: Sampler, count: int, positions: np.random.RandomState | None) -> Batch:
    """Draw in pieces and keep the first step of the hints only, with which a network starts."""
    pieces = []
    for start in range(0, count, _CHUNK):
        batch = sampler.take(min(_CHUNK, count - start), positions)
        pieces.append((batch, {name: hint[:1].swapaxes(0, 1) for name, hint in batch.hints.items()}))

    def joined(maps: list[Mapping[str, Array]]) -> dict[str, Array]:
        return {name: np.concatenate([each[name] for each in maps]) for name in maps[0]}

    hints = {name: hint.swapaxes(0, 1) for name, hint in joined([hints for _, hints in pieces]).items()}
    batch = Batch(
        joined([batch.inputs for batch, _ in pieces]),
        hints,
        joined([batch.outputs for batch, _ in pieces]),
        np.concatenate([batch.lengths for batch, _ in pieces]),
    )
    return batch.sorted()[0]


def _typed(point: Any) -> Array:
    return np.asarray(point.data).astype(np.int64 if point.type_ == "pointer" else np.float32)


def _permutation(point: Any) -> dict[str, Array]:
    """Return predecessors in a ring, the first node's being the last, and the mark of the first node."""
    before = np.asarray(point.data).astype(np.int64)
    nodes = np.arange(before.shape[1])
    is_first = before == nodes
    is_before = (before[:, :, None] == nodes).any(1)
    last = np.argmin(is_before, axis=1)
    return {point.name: np.where(is_first, last[:, None], before), f"{point.name}_mask": is_first.astype(np.float32)}


def _random_positions(evenly: Array, rng: np.random.RandomState) -> Array:
    """Return sorted uniform positions of the same shape; each string of an input of two starts afresh at a zero."""
    drawn = np.asarray(rng.uniform(size=evenly.shape))
    for row, old in zip(drawn, evenly, strict=True):
        bounds = [*np.flatnonzero(old == 0), len(old)]
        for start, end in pairwise(bounds):
            row[start:end].sort()
    return drawn.astype(np.float32)
