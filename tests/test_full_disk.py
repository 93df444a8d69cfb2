"""A file system that fills up under a search: one sentence, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.searching import finish, make_config

from evohpc.errors import StorageError
from evohpc.search.search import Search

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root"),
    pytest.mark.usefixtures("made_once"),
]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; remount it to make it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", disk], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine mounts nothing: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_the_search_stops_with_a_sentence_and_goes_on_when_there_is_space(small_disk: Path, tmp_path: Path) -> None:
    config = make_config(tmp_path)
    with Search.create(tmp_path / "elsewhere", config) as search:
        finish(search)
    Search.create(small_disk / "run", config)
    filler = small_disk / "filler"
    for left in (64, 128, 256, 512):
        _leave(filler, left)
        with pytest.raises(StorageError, match="nothing is lost: free some space"):
            _go_on(small_disk / "run")
        filler.unlink()
        if (small_disk / "run" / "rounds" / "000").exists():
            break
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    _go_on(small_disk / "run")
    assert Search.open(small_disk / "run").best(20) == Search.open(tmp_path / "elsewhere").best(20)


def test_the_command_line_says_it_in_one_line(small_disk: Path, tmp_path: Path) -> None:
    make_config(tmp_path)
    _leave(small_disk / "filler", 8)
    command: list[str | Path] = [sys.executable, "-m", "evohpc", "run", small_disk / "run", tmp_path / "given.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write ")
    assert done.stderr.count("\n") == 1


def _go_on(run: Path) -> None:
    with Search.open(run) as search:
        finish(search)


def _leave(filler: Path, kilobytes: int) -> None:
    """Fill the disk up to so many kilobytes."""
    free = os.statvfs(filler.parent).f_bavail * os.statvfs(filler.parent).f_frsize
    filler.write_bytes(b"\0" * (free - 1024 * kilobytes))
