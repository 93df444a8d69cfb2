"""Predictions, losses and scores equal to dm-clrs's under JAX, for all 30 algorithms and so for every kind of feature.

The expectations in golden/ were computed by JAX: `python reference.py golden 8 3 5`, under a Python that has the whole
of dm-clrs. To compare afresh, and at the published width: EVOHPC_JAX_PYTHON=that/python pytest -m slow.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from comparison import compare

from evohpc.tasks.clrs.features import algorithms

HERE = Path(__file__).parent
JAX_PYTHON = os.environ.get("EVOHPC_JAX_PYTHON", "")


@pytest.mark.parametrize("algorithm", algorithms())
def test_equals_what_jax_computed(algorithm):
    compare(HERE / f"golden/{algorithm}.safetensors", hidden=8, count=3, size=5)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not JAX_PYTHON, reason="EVOHPC_JAX_PYTHON names no Python with the whole of dm-clrs")
@pytest.mark.parametrize("algorithm", algorithms())
def test_equals_what_jax_computes_at_the_published_width(algorithm, tmp_path):
    command = [JAX_PYTHON, str(HERE / "reference.py"), str(tmp_path), "128", "4", "9", algorithm]
    subprocess.run(command, check=True, capture_output=True)
    compare(tmp_path / f"{algorithm}.safetensors", hidden=128, count=4, size=9)
