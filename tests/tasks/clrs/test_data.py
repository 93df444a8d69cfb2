"""The data against dm-clrs's own, and dm-clrs loaded without JAX and TensorFlow."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from support.clrs.data_hashes import SETS, TRAINING, digest, digest_arrays
from support.paths import TESTS

from evohpc.errors import TaskError
from evohpc.tasks.clrs import sampling, upstream
from evohpc.tasks.clrs.batch import training_sizes
from evohpc.tasks.clrs.features import FIXED_PRED, algorithms, features
from evohpc.tasks.clrs.sampling import Sampler

HASHES = json.loads((TESTS / "support/clrs/data_hashes.json").read_text())
DATA_SEED = 7


def drawn_hash(algorithm: str, split: str) -> str:
    seed, size, runs = SETS[split]
    return digest(Sampler(algorithm, size, seed).draw(runs))


@pytest.mark.parametrize("algorithm", algorithms())
def test_published_validation_set(algorithm: str) -> None:
    assert drawn_hash(algorithm, "val") == HASHES[algorithm]["val"]


LONG = "matrix_chain_order"
"""Whose runs of 64 nodes take longer than those of all others together."""


@pytest.mark.parametrize("algorithm", [pytest.param(a, marks=[pytest.mark.slow] * (a == LONG)) for a in algorithms()])
def test_published_test_set(algorithm: str) -> None:
    assert drawn_hash(algorithm, "test") == HASHES[algorithm]["test"]


@pytest.mark.parametrize("algorithm", algorithms())
def test_training_batches(algorithm: str) -> None:
    size, runs = TRAINING
    stream = sampling.training_batches(algorithm, DATA_SEED, runs, (size,))
    for expected in HASHES[algorithm]["train"]:
        batch = next(stream)
        arrays = [*batch.inputs.items(), *batch.hints.items(), *batch.outputs.items()]
        assert digest_arrays(arrays, batch.lengths) == expected


def test_sizes_take_turns() -> None:
    stream = sampling.training_batches("bfs", 0, 2, (4, 7))
    assert [next(stream).inputs["pos"].shape for _ in range(3)] == [(2, 4), (2, 7), (2, 4)]


def test_texts_have_one_size_with_room_for_the_needle() -> None:
    assert training_sizes("kmp_matcher") == (20,)


@pytest.mark.parametrize("algorithm", ["quickselect", "kmp_matcher"])
def test_published_sets_are_larger_where_a_run_has_few_outputs(algorithm: str) -> None:
    assert sampling.published_samples(algorithm) == 2048
    assert sampling.published_samples("bfs") == 32


def test_evaluation_sets_hold_only_the_first_hints_and_are_sorted() -> None:
    batch = sampling.held_out_set("dijkstra", samples=40, size=8)
    assert {hint.shape[0] for hint in batch.hints.values()} == {1}
    assert len(batch.lengths) == 40
    assert (np.diff(batch.lengths) <= 0).all()


def test_fixed_pred_is_an_input_and_no_hint() -> None:
    for algorithm in FIXED_PRED:
        assert {(each.name, each.stage) for each in features(algorithm)} >= {("pred", "input")}
        assert "pred_h" not in {each.name for each in features(algorithm)}


def test_loading_leaves_nothing_heavy_behind(tmp_path: Path) -> None:
    (tmp_path / "clrs.py").write_text("raise SystemExit('the wrong clrs')")
    code = (
        "import sys; from evohpc.tasks.clrs import upstream; upstream.load();"
        "heavy = {'jax', 'tensorflow', 'chex', 'clrs', 'torch'};"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Distribution:
    def __init__(self, version: str, folder: Path) -> None:
        self.version, self.folder = version, folder

    def locate_file(self, name: str) -> Path:
        return self.folder / name


def missing(name: str) -> None:
    raise metadata.PackageNotFoundError(name)


def test_missing_dm_clrs_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(TaskError, match=r"not installed; pip install --no-deps dm-clrs==2\.0\.3 attrs"):
        upstream.load.__wrapped__()


def test_other_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution("1.0.1", tmp_path))
    with pytest.raises(TaskError, match=r"needs dm-clrs 2\.0\.3, 1\.0\.1 may draw other data"):
        upstream.load.__wrapped__()


def test_damaged_dm_clrs_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution("2.0.3", tmp_path))
    with pytest.raises(TaskError, match=r"cannot load dm-clrs \(No module named 'clrs\._src'\); pip install"):
        upstream.load.__wrapped__()
