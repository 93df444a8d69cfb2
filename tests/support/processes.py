"""What runs beneath a process."""

from __future__ import annotations

from pathlib import Path

from evohpc.sandbox import process_tree


def command(pid: int) -> str:
    """Return a process's command line, its words with NULs between them; '' of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def beneath(pid: int, word: str) -> list[int]:
    """Return the descendants of a process that have a word in their command line."""
    return [found for found in process_tree.descendants(pid) if word in command(found)]
