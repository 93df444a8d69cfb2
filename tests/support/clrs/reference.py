"""What dm-clrs itself computes under JAX: python reference.py OUT HIDDEN BATCH SIZE ALGORITHM...

Run by a Python that has the whole of dm-clrs (pip install dm-clrs==2.0.3 safetensors). For each algorithm, all 30 if
none is named, writes OUT/<algorithm>.safetensors: the weights by Haiku's names, and the logits of outputs and hints,
the losses and the score of one batch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clrs
import haiku as hk  # type: ignore[import-not-found]
import jax  # type: ignore[import-not-found]
import numpy as np
from clrs._src import losses, specs
from safetensors.numpy import save_file

TRIPLET_FEATURES = 8
DATA_SEED, WEIGHT_SEED = 7, 5
FIXED_PRED = (
    *("binary_search", "minimum", "find_maximum_subarray_kadane", "matrix_chain_order", "lcs_length", "optimal_bst"),
    *("activity_selector", "task_scheduling", "naive_string_matcher", "kmp_matcher", "jarvis_march"),
)


def batches(algorithm: str, size: int, count: int) -> Any:
    """Return spec and an endless iterator, made as in dm-clrs's examples/run.py."""
    rng = np.random.RandomState(DATA_SEED)
    density = tuple([0.1 + 0.1 * i for i in range(9)])
    if algorithm in ("articulation_points", "bridges", "mst_kruskal"):
        density = tuple(np.array(density) / 2)
    if algorithm in ("naive_string_matcher", "kmp_matcher"):
        size = 20
    sampler, spec = clrs.build_sampler(
        algorithm,
        seed=rng.randint(2**32),
        num_samples=-1,
        track_max_steps=False,
        length=size,
        p=density,
        length_needle=-8,
    )

    def forever() -> Iterator[Any]:
        while True:
            yield sampler.next(count)

    stream = clrs.process_random_pos(forever(), rng)  # type: ignore[no-untyped-call]
    if algorithm in FIXED_PRED:
        spec, stream = clrs.process_pred_as_input(spec, stream)  # type: ignore[no-untyped-call]
    return clrs.process_permutations(spec, stream, True)  # type: ignore[no-untyped-call]


def reference(algorithm: str, hidden: int, count: int, size: int) -> dict[str, np.ndarray]:
    """Return all arrays of one algorithm."""
    spec, stream = batches(algorithm, size, count)
    batch = next(stream)
    model = clrs.models.BaselineModel(
        spec=spec,
        dummy_trajectory=batch,
        processor_factory=clrs.get_processor_factory(
            "triplet_gmpnn", use_ln=True, nb_triplet_fts=TRIPLET_FEATURES, nb_heads=1
        ),
        hidden_dim=hidden,
        encode_hints=True,
        decode_hints=True,
        encoder_init="xavier_on_scalars",
        grad_clip_max_norm=1.0,
    )
    model.init(batch.features, WEIGHT_SEED)
    params = shaken(model.params)
    model.params = params
    key = jax.random.PRNGKey(0)
    logits, hints = model.net_fn.apply(
        params, key, [batch.features], repred=True, algorithm_index=0, return_hints=True, return_all_outputs=False
    )
    answers, _ = model.predict(key, batch.features)
    found = {f"weights/{module}/{name}": array for module, group in params.items() for name, array in group.items()}
    found |= {f"output/{name}": array for name, array in logits.items()}
    found |= {f"hint/{name}": np.stack([step[name] for step in hints]) for name in hints[0]}
    nodes = next(i.data.shape[1] for i in batch.features.inputs if i.name == "pos")
    by_feature = {f"loss/{t.name}": losses.output_loss(t, logits[t.name], nodes) for t in batch.outputs}
    for truth in batch.features.hints:
        predicted = [step[truth.name] for step in hints]
        loss = losses.hint_loss(truth, predicted, batch.features.lengths, nodes)
        by_feature[f"hint_loss/{truth.name}"] = loss
    found |= by_feature
    if not any(kind == "permutation_pointer" for _, _, kind in spec.values()):  # no noise in training
        found["loss_in_training"] = model._loss(params, key, batch, 0)  # type: ignore[no-untyped-call]
    scores = clrs.evaluate(batch.outputs, answers)
    found["score"] = np.float32(scores["score"])
    found["lengths"] = batch.features.lengths
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in found.items()}


def shaken(params: Any) -> Any:
    """Move every weight, so that no bias is zero and no two are equal."""
    rng = np.random.RandomState(11)

    def moved(module: str, name: str, array: Any) -> Any:
        return array + 0.05 * rng.standard_normal(array.shape).astype(np.float32)

    return hk.data_structures.map(moved, params)


def main(out: str, hidden: str, count: str, size: str, *names: str) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in names or specs.CLRS_30_ALGS:
        save_file(reference(name, int(hidden), int(count), int(size)), Path(out) / f"{name}.safetensors")
        print(name, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
