"""sqlite-utils without pandas, which it imports wherever it is installed: half a second at each start of evohpc."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let the import of a package fail, unless it is there already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # "causes ModuleNotFoundError": the import system's reference
    try:
        yield
    finally:
        del sys.modules[name]


with _hidden("pandas"):
    import sqlite_utils
    from sqlite_utils.migrations import Migrations

__all__ = ["Migrations", "sqlite_utils"]
