"""Cgroups of stages. What needs a real one runs where this user may make one: as root in the root of cgroup v2, or in a
scope of systemd's user manager."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evohpc.sandbox import cgroup
from evohpc.sandbox.base import Limits

LIMITS = Limits(wall_s=99, memory_bytes=60 << 20, disk_bytes=4 << 20, log_bytes=10, files=5, processes=5)
GREEDY = """
import sys
from pathlib import Path
from evohpc.sandbox.cgroup import Leaf
Leaf(Path(sys.argv[1])).enter()
print(Path("/proc/self/cgroup").read_text(), flush=True)
kept = [bytearray(b"1" * (1 << 20)) for _ in range(int(sys.argv[2]))]
"""


@pytest.fixture
def home() -> Path:
    found = cgroup.home()
    if found is None:
        pytest.skip("nobody may make a cgroup of version 2 with the memory controller here")
    return found


def greedy(leaf: cgroup.Leaf, megabytes: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", GREEDY, leaf.path, str(megabytes)], capture_output=True, text=True)


def test_the_kernel_ends_what_takes_too_much(home: Path) -> None:
    with cgroup.leaf(LIMITS, home) as leaf:
        assert leaf is not None
        modest = greedy(leaf, 20)
        assert modest.returncode == 0, modest.stderr
        assert leaf.path.name in modest.stdout
        assert greedy(leaf, 200).returncode == -signal.SIGKILL
    assert not leaf.path.exists()


def test_what_is_in_it_ends_with_it(home: Path) -> None:
    with cgroup.leaf(LIMITS, home) as leaf:
        assert leaf is not None
        sleeper = subprocess.Popen(["sleep", "999"])
        (leaf.path / "cgroup.procs").write_text(str(sleeper.pid))
    assert sleeper.wait(60) == -signal.SIGKILL
    assert not leaf.path.exists()


def test_what_a_killed_evaluator_left_goes_and_that_of_a_living_one_stays(home: Path) -> None:
    with subprocess.Popen(["sleep", "999"]) as evaluator:
        started = Path(f"/proc/{evaluator.pid}/stat").read_text().split()[21]
        held = home / f"evohpc-{evaluator.pid}-{started}"
        left = home / f"evohpc-{evaluator.pid}-1"
        held.mkdir()
        left.mkdir()
        assert cgroup.home() == home
        assert held.exists()
        assert not left.exists()
        evaluator.kill()
    cgroup.home()
    assert not held.exists()


@pytest.mark.parametrize(
    ("own", "mounts"),
    [
        ("4:memory:/job\n", "30 1 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"),
        ("0::/job/step\n", ""),
        ("0::/job/step\n", "30 1 0:1 / {tmp}/missing rw - cgroup2 cgroup2 rw\n"),
        ("0::/job/step\n", "30 1 0:1 / {tmp} ro - cgroup2 cgroup2 ro\n"),
    ],
    ids=["version 1", "not mounted", "not visible", "without the controller"],
)
def test_elsewhere_there_is_none(own: str, mounts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(own)
    (tmp_path / "self/mountinfo").write_text(mounts.format(tmp=tmp_path))
    (tmp_path / "job").mkdir()
    (tmp_path / "job/cgroup.subtree_control").write_text("cpu pids\n")
    monkeypatch.setattr(cgroup, "PROC", tmp_path)
    assert cgroup.home() is None
    with cgroup.leaf(LIMITS, None) as leaf:
        assert leaf is None


def test_a_kernel_that_refuses_leaves_the_stage_outside(tmp_path: Path) -> None:
    with cgroup.leaf(LIMITS, tmp_path / "missing") as leaf:
        assert leaf is None
    cgroup.Leaf(tmp_path / "gone").enter()
    assert os.getpid()
