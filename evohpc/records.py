"""Keeps the name that task files of runs made by evohpc 0.1 import; it goes with the release after the next."""

from __future__ import annotations

from evohpc.messages import Candidate, Result, Status, TaskInterface

__all__ = ["Candidate", "Result", "Status", "TaskInterface"]
