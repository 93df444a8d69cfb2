"""Where the tests find what they read."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""
TESTS = ROOT / "tests"
GOLDEN = TESTS / "golden"
SEEDS = ROOT / "seeds"
MNIST1D_SEEDS = SEEDS / "mnist1d"
