"""What a hostile program left is removed, however it is nested."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from evohpc.sandbox import removal, scratch, supervise
from evohpc.sandbox.base import Limits

LIMITS = Limits(wall_s=1, memory_bytes=1 << 30, disk_bytes=1 << 20, log_bytes=100)


def nest(folder: Path, depth: int, name: str = "d") -> None:
    """Make folders in folders, with a file in each hundredth, without ever naming a long path."""
    here = os.open(folder, os.O_RDONLY)
    for level in range(depth):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
        if level % 100 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


@pytest.fixture(params=["disk", "tmpfs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty folder, on a disk and in memory."""
    if request.param == "disk":
        yield tmp_path
        return
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no tmpfs to write to")
    folder = Path(tempfile.mkdtemp(prefix="evohpc-test-", dir="/dev/shm"))
    yield folder
    assert removal.remove(folder)


@pytest.mark.parametrize(("depth", "name"), [(5000, "d"), (300, "n" * 250)], ids=["deep", "long"])
def test_nested_folders_go(place: Path, depth: int, name: str) -> None:
    nest(place, depth, name)
    assert removal.remove(place / name)
    assert list(place.iterdir()) == []


@pytest.mark.slow
def test_many_files_go(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    for part in ("one", "two"):
        (folder / part).mkdir(parents=True)
        for number in range(5000):
            (folder / part / str(number)).touch()
    assert removal.remove(folder)


def test_names_that_are_wanted_are_taken(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    for number in range(5):
        (folder / f"evohpc-{number}" / f"evohpc-{number}" / "deep" / "er").mkdir(parents=True)
        (folder / f"evohpc-{number}" / "file").touch()
    assert removal.remove(folder)


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("mine")
    (tmp_path / "left/inner").mkdir(parents=True)
    for place in (tmp_path / "left/link", tmp_path / "left/inner/link"):
        place.symlink_to(tmp_path / "mine")
    assert removal.remove(tmp_path / "left")
    assert (tmp_path / "mine/file").read_text() == "mine"
    (tmp_path / "left").symlink_to(tmp_path / "mine")
    assert not removal.remove(tmp_path / "left")
    assert (tmp_path / "mine/file").read_text() == "mine"


def test_what_is_gone_is_removed(tmp_path: Path) -> None:
    assert removal.remove(tmp_path / "nothing")


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from evohpc.sandbox import removal, supervise
from evohpc.sandbox.base import Limits
if os.getuid() == 0:  # whom modes do not bind
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
base = Path(sys.argv[1])
for mode in (0o000, 0o300, 0o500):
    (base / "top" / oct(mode) / "inner").mkdir(parents=True)
    (base / "top" / oct(mode) / "inner" / "file").touch()
    (base / "top" / oct(mode) / "inner").chmod(mode)
    (base / "top" / oct(mode)).chmod(mode)
assert not supervise.fits(base, Limits(1, 1 << 30, 1 << 20, 100)), "what cannot be read was counted"
assert removal.remove(base / "top")
"""


def test_folders_without_rights_go_and_do_not_count_as_empty(tmp_path: Path) -> None:
    base = Path(tempfile.mkdtemp(prefix="evohpc-test-", dir="/tmp"))  # where others may look
    base.chmod(0o777)
    try:
        subprocess.run([sys.executable, "-c", UNPRIVILEGED, str(base)], check=True)
    finally:
        removal.remove(base)


def test_what_is_nested_too_deep_is_over_the_limit(tmp_path: Path) -> None:
    nest(tmp_path, 50)
    assert supervise.fits(tmp_path, LIMITS)
    nest(tmp_path / "d/d", 49, "e")
    assert supervise.fits(tmp_path, LIMITS)
    nest(tmp_path / "d", 2000, "f")
    assert not supervise.fits(tmp_path, LIMITS)
    assert removal.remove(tmp_path / "d")


@pytest.mark.slow
def test_a_dead_evaluator_s_traps_keep_nobody_from_working(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    trap = place / "evohpc-scratch-dead"
    trap.mkdir()
    (trap / "lock").touch()
    nest(trap, 3000)
    for _ in range(2):
        with scratch.private_folder() as mine:
            assert [path for path in place.iterdir() if path != mine] == []


def test_what_cannot_be_removed_is_named_and_left_alone_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    trap = tmp_path / "evohpc-scratch-dead"
    trap.mkdir()
    (trap / "lock").touch()
    monkeypatch.setattr(os, "unlink", Mock(side_effect=PermissionError(1, "Operation not permitted")))
    with scratch.private_folder():
        assert (tmp_path / "evohpc-left-dead/lock").exists()
    assert f"{trap} cannot be removed: Directory not empty" in caplog.text
    assert f"it is {tmp_path}/evohpc-left-dead on this node now" in caplog.text
