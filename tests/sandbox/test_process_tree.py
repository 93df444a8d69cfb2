"""What the supervisor sees of files without a name."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from evohpc.sandbox import process_tree

PAGES = 16


@pytest.fixture
def others(tmp_path: Path) -> float:
    """Bytes of the other such files of this process: pytest keeps what tests print in one."""
    return process_tree.unlinked_bytes([os.getpid()], tmp_path.stat().st_dev)


@pytest.fixture
def file(tmp_path: Path, others: float) -> Iterator[int]:
    """A file of some pages that this process maps, holds open, and that has no name."""
    path = tmp_path / "file"
    path.write_bytes(bytes(PAGES * mmap.PAGESIZE))
    descriptor = os.open(path, os.O_RDWR)
    with mmap.mmap(descriptor, PAGES * mmap.PAGESIZE):
        path.unlink()
        yield descriptor
        os.close(descriptor)


def test_a_file_without_a_name_counts_as_long_as_it_is_open(file: int, others: float) -> None:
    found = process_tree.unlinked_bytes([os.getpid()], os.fstat(file).st_dev) - others
    assert PAGES * mmap.PAGESIZE <= found < 2 * PAGES * mmap.PAGESIZE


def test_a_file_that_is_unlinked_while_it_is_looked_for_is_no_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy host the look takes long enough: an honest candidate that did so went over its disk limit."""
    looked: list[str] = []
    listdir, path = os.listdir, tmp_path / "file"
    held: list[mmap.mmap] = []

    def slow(folder: str) -> list[str]:
        found = listdir(folder)
        if folder.endswith("/fd") and not looked:
            looked.append(folder)
            path.write_bytes(bytes(mmap.PAGESIZE))
            with path.open("r+b") as opened:
                held.append(mmap.mmap(opened.fileno(), mmap.PAGESIZE))
            path.unlink()
        return found

    monkeypatch.setattr(os, "listdir", slow)
    assert process_tree.unlinked_bytes([os.getpid()], tmp_path.stat().st_dev) < math.inf
    assert looked
    held[0].close()
