"""How a Python is started without the folder in which a user happens to be, and how processes end together."""

import errno
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from support.cluster.daemons import lives, wait_until

from evohpc import linux


@pytest.mark.parametrize(
    ("command", "environment"),
    [(linux.python(), {}), (linux.python(sys.executable), {}), ([sys.executable], linux.ISOLATED)],
)
def test_a_module_in_the_working_folder_is_not_imported(
    tmp_path: Path, command: Sequence[str], environment: Mapping[str, str]
) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('the queue of a user')\n")
    subprocess.run([*command, "-c", "import queue"], cwd=tmp_path, env={**os.environ, **environment}, check=True)


DYING_WITH_ITS_PARENT = """
import os, signal, sys, time
from evohpc import linux
if child := os.fork():
    os.write(1, f"{child}\\n".encode())  # at once, for the child writes too
    time.sleep(600)
linux.die_with_parent(int(sys.argv[1]) if len(sys.argv) > 1 else os.getppid(), signal.SIGKILL)
os.write(1, b"goes on\\n")
time.sleep(600)
"""


def test_a_process_dies_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", DYING_WITH_ITS_PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = {parent.stdout.readline().strip(), parent.stdout.readline().strip()} - {"goes on"}
        parent.kill()
    wait_until(lambda: not lives(int(*child)), "it is gone")


def test_a_process_whose_parent_has_died_before_it_asked_leaves_at_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DYING_WITH_ITS_PARENT, str(os.getpid())], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        child = int(other.stdout.readline())
        wait_until(lambda: not lives(child), "it is gone")
        other.kill()
        assert other.stdout.read() == ""


def test_without_capabilities_root_has_none() -> None:
    program = "from evohpc import linux; linux.drop_capabilities(); print(open('/proc/self/status').read())"
    status = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    held = [line.split()[1] for line in status.splitlines() if line.startswith(("CapInh", "CapPrm", "CapEff"))]
    assert [int(capabilities, 16) for capabilities in held] == [0, 0, 0]


def test_what_the_kernel_refuses_is_an_error_with_its_number() -> None:
    with pytest.raises(OSError, match="Invalid argument") as refused:
        linux.prctl(-1, 0)
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("chosen", "spins"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_threads_wait_asleep_unless_the_user_has_chosen(
    chosen: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    linux.spare_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == spins
