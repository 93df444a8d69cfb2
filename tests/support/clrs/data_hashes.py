"""Hashes of dm-clrs's own data: python data_hashes.py > data_hashes.json, under a Python that has the whole of dm-clrs.

For each algorithm the first runs of the published validation set (seed 2, 16 nodes) and test set (seed 3, 64 nodes) as
drawn, and two batches of on-line training data as examples/run.py makes them, but sorted by falling length and with a
permutation's matrix as indices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

SETS = {"val": (2, 16, 32), "test": (3, 64, 2)}
"""Seed, nodes and runs."""
TRAINING = (16, 8)
"""Nodes and runs of a training batch."""


def digest(feedback: Any) -> str:
    """Return 16 hex digits of all arrays of a dm-clrs `Feedback`, in float32."""
    points = [*feedback.features.inputs, *feedback.features.hints, *feedback.outputs]
    return digest_arrays([(point.name, point.data) for point in points], feedback.features.lengths)


def digest_sorted(feedback: Any) -> str:
    """Return the digest of a processed batch as evohpc has it."""
    lengths = feedback.features.lengths
    order = np.argsort(-lengths, kind="stable")
    arrays = [(point.name, np.asarray(point.data)[:, order]) for point in feedback.features.hints]
    for point in (*feedback.features.inputs, *feedback.outputs):
        data = np.asarray(point.data)[order]
        arrays.append((point.name, data.argmax(-1) if point.type_ == "permutation_pointer" else data))
    return digest_arrays(arrays, lengths[order])


def digest_arrays(arrays: Iterable[tuple[str, np.ndarray]], lengths: np.ndarray) -> str:
    """Return 16 hex digits of named arrays, whatever their order."""
    found = hashlib.sha256()
    for name, array in sorted((name, np.asarray(array).astype(np.float32)) for name, array in arrays):
        found.update(f"{name}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    found.update(np.asarray(lengths).astype(np.int64).tobytes())
    return found.hexdigest()[:16]


def main() -> None:
    import clrs
    from clrs._src import specs

    from support.clrs.reference import batches

    hashes: dict[str, dict[str, str | list[str]]] = {}
    for algorithm in specs.CLRS_30_ALGS:
        hashes[algorithm] = {
            name: digest(clrs.build_sampler(algorithm, seed=seed, num_samples=runs, length=size)[0].next())
            for name, (seed, size, runs) in SETS.items()
        }
        _, stream = batches(algorithm, *TRAINING)
        hashes[algorithm]["train"] = [digest_sorted(next(stream)), digest_sorted(next(stream))]
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in hashes.items()]
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
