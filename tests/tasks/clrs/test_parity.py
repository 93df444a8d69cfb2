"""Predictions, losses and scores equal to dm-clrs's under JAX, for all 30 algorithms and so for every kind of feature.

The expectations in golden/ were computed by JAX: `python reference.py golden 8 3 5`, under a Python that has the whole
of dm-clrs. `make parity` makes one and compares afresh, at the published width.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.clrs.comparison import compare
from support.paths import GOLDEN, TESTS

from evohpc.tasks.clrs.features import algorithms

JAX_PYTHON = os.environ.get("EVOHPC_JAX_PYTHON", "")


@pytest.mark.parametrize("algorithm", algorithms())
def test_equals_what_jax_computed(algorithm: str) -> None:
    compare(GOLDEN / f"clrs/{algorithm}.safetensors", hidden=8, count=3, size=5)


@pytest.fixture(scope="module")
def computed_now(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of what JAX computes; all of it in one process, which imports TensorFlow once."""
    if not JAX_PYTHON:
        pytest.fail("EVOHPC_JAX_PYTHON names no Python with the whole of dm-clrs; `make parity` makes one")
    folder = tmp_path_factory.mktemp("jax")
    subprocess.run([JAX_PYTHON, TESTS / "support/clrs/reference.py", folder, "128", "4", "9"], check=True)
    return folder


@pytest.mark.jax
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("algorithm", algorithms())
def test_equals_what_jax_computes_at_the_published_width(algorithm: str, computed_now: Path) -> None:
    compare(computed_now / f"{algorithm}.safetensors", hidden=128, count=4, size=9)
