"""A disk that nothing waits for.

What is synced, and when, is tested where files are written (test_rundir, test_store). Tests of what goes through them
would spend most of their time waiting for a disk, and how much depends on who else uses it.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

import pytest


class _Connection(sqlite3.Connection):
    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return super().execute("PRAGMA synchronous=OFF" if sql.startswith("PRAGMA synchronous=") else sql, *values)


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process, not those that it starts, sync nothing."""
    connect = sqlite3.connect
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{"factory": _Connection, **k}))
