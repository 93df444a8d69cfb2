"""Writes, or checks, what the scripts beside this file make of the code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def write_or_check(wanted: Mapping[Path, str]) -> int:
    """Write the files that are not as wanted; with `--check` on the command line, name them instead.

    Returns:
        The exit code: with `--check`, how many there are.
    """
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        print(*(f"{path.name} is out of date; run python docs/{Path(sys.argv[0]).name}" for path in stale), sep="\n")
        return len(stale)
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    return 0
