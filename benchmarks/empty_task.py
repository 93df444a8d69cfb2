"""An array task without a candidate, for arrays.py; apart, as a node that imports it should import nothing more."""

from __future__ import annotations


def nothing(run: str, round: int, name: str, index: int) -> None:
    """Import what the evaluation of a candidate imports."""
    import evohpc.evaluation.worker  # noqa: F401
