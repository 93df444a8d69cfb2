"""What runs beneath a process."""

from __future__ import annotations

import contextlib
import os
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


def pid_namespaces(root: int, mapped: str) -> set[str]:
    """Return the PID namespaces, other than this process's, of processes beneath one that have a file mapped whose name
    has this word in it."""
    own, found = os.readlink("/proc/self/ns/pid"), set()
    for pid in process_tree.descendants(root):
        with contextlib.suppress(OSError):
            if mapped in Path(f"/proc/{pid}/maps").read_text():
                found.add(os.readlink(f"/proc/{pid}/ns/pid"))
    return found - {own}


def _with(word: str, pid: int) -> list[int]:
    return [found for found in process_tree.descendants(pid) if word in command(found)]
