"""Temporary folders go with their process, or with the next one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from evohpc.sandbox import scratch

HOLD = """
import sys, tempfile
from evohpc.sandbox import scratch
with scratch.private_folder() as folder:
    tempfile.mkdtemp()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_all_temporary_files_are_in_it_and_go_with_it(tmp_path: Path) -> None:
    with scratch.private_folder() as folder:
        assert Path(tempfile.mkdtemp()).parent == folder
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []
    assert tempfile.gettempdir() == str(tmp_path)


def test_those_of_the_dead_are_swept_and_those_of_the_living_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living,
    ):
        assert killed.stdout is not None
        assert living.stdout is not None
        left, held = (Path(process.stdout.readline().strip()) for process in (killed, living) if process.stdout)
        killed.kill()
        killed.wait()
        assert left.exists()
        with scratch.private_folder() as mine:
            assert set(tmp_path.iterdir()) == {held, mine}
