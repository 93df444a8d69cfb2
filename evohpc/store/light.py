"""sqlite-utils without pandas and numpy, which it imports wherever they are installed: half a second at each start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Let the imports of packages fail, unless they are there already."""
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # "causes ModuleNotFoundError": the import system
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


with _hidden("pandas", "numpy"):
    import sqlite_utils
    from sqlite_utils.migrations import Migrations

__all__ = ["Migrations", "sqlite_utils"]
