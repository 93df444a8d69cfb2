"""Keeps the name that pickles of job arrays made by evohpc 0.1 know; it goes with the release after the next."""

from __future__ import annotations

from evohpc.evaluation.worker import run_array_task

__all__ = ["run_array_task"]
