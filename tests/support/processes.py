"""What runs beneath a process."""

from __future__ import annotations

from pathlib import Path

from evohpc.sandbox import process_tree
from support.cluster.daemons import wait_until


def command(pid: int) -> str:
    """Return a process's command line, its words with NULs between them; '' of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def beneath(pid: int, word: str) -> list[int]:
    """Return the descendants of a process that have a word in their command line, once there are any: one that was
    started a moment ago has none yet."""
    wait_until(lambda: _with(word, pid), f"a process has {word} in its command line")
    return _with(word, pid)


def _with(word: str, pid: int) -> list[int]:
    return [found for found in process_tree.descendants(pid) if word in command(found)]
