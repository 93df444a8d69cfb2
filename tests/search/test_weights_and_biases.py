"""Offline runs of Weights & Biases, read as its own package wrote them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cluster.daemons import wait_until
from support.paths import ROOT
from support.searching import go_on, wish

from evohpc.report.reader import Reading
from evohpc.search import wandb_run, weights_and_biases

BLOCK = 32 * 1024
EMPTY = """
from contextlib import nullcontext
from unittest.mock import Mock

Settings, init = dict, lambda **given: nullcontext(Mock())
"""


def records(path: Path) -> Iterator[Any]:
    """Yield what a file of wandb holds: a log as LevelDB writes it, of protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, whole = path.read_bytes(), b""
    assert data[:4] == b":W&B"
    place = 7
    while place < len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # the whole of a record, or the last part of one
            yield Record.FromString(whole)
            whole = b""


def items(pairs: Any) -> dict[str, Any]:
    return {"/".join(pair.nested_key) or pair.key: json.loads(pair.value_json) for pair in pairs}


class Written:
    """A run, read back."""

    def __init__(self, run: Path) -> None:
        (self.path,) = run.glob("wandb/offline-run-*/run-*.wandb")
        found = list(records(self.path))
        (self.run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
        history = [record.history for record in found if record.WhichOneof("record_type") == "history"]
        self.steps = [(one.step.num, items(one.item)) for one in history]
        assert [record.WhichOneof("record_type") for record in found][-1] == "exit"

    def scalars(self, tag: str) -> list[tuple[int, float]]:
        return [(step, values[tag]) for step, values in self.steps if tag in values]


@pytest.fixture
def over(finished_run: Path, tmp_path: Path) -> Path:
    """A search that is over, and whose driver has not told its trackers yet."""
    pytest.importorskip("wandb")
    return wish(finished_run, tmp_path, "wandb")


def test_a_search_is_one_run_child_by_child(over: Path) -> None:
    go_on(over)
    written = Written(over)
    with Reading(over) as reading:
        children = [entry for entry in reading.store.every() if entry.candidate.round >= 0]
        assert written.run.run_id == reading.run_id
    assert written.path.parent.name.endswith(f"-{written.run.run_id}")
    assert (written.run.project, written.run.display_name) == ("evohpc", "run")
    assert items(written.run.config.update)["search"]["rounds"] == 2
    fitness = {number: entry.fitness for number, entry in enumerate(children, 1) if entry.fitness is not None}
    assert dict(written.scalars("child/fitness")) == pytest.approx(fitness)
    steps = [step for step, _ in written.steps]
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, len(children))
    best = [value for _, value in written.scalars("best/fitness")]
    assert best == sorted(best)


@pytest.mark.slow
def test_going_on_is_the_same_run_and_doubles_no_step(over: Path) -> None:
    go_on(over)
    before = Written(over)
    before.path.write_bytes(before.path.read_bytes()[:100])  # as no kill would leave it
    go_on(over)
    after = Written(over)
    assert after.path == before.path
    times = {"_timestamp", "_runtime"}  # nobody knows when the candidates of this search were evaluated
    kept, again = (
        [(step, {name: value for name, value in values.items() if name not in times}) for step, values in one.steps]
        for one in (before, after)
    )
    assert again == kept


@pytest.mark.slow
def test_it_knows_no_network_and_writes_nothing_elsewhere(over: Path, tmp_path: Path) -> None:
    """In a network namespace of its own, whose counters say what was tried."""
    namespace = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("this host gives no network namespace of one's own")
    program = (
        "import sys; from pathlib import Path; from support.searching import go_on; go_on(Path(sys.argv[1]))\n"
        "print(Path('/proc/net/snmp').read_text())"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "HOME": str(home),
        "WANDB_MODE": "online",
        "WANDB_API_KEY": "0" * 40,
    }
    done = subprocess.run(
        [*namespace, sys.executable, "-c", program, str(over)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "trackers" not in done.stderr
    counted: dict[str, int] = {}
    lines = [line.split() for line in done.stdout.splitlines() if ":" in line]
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        counted.update({f"{names[0]}{name}": int(value) for name, value in zip(names[1:], values[1:], strict=True)})
    tried = {
        name: counted[name] for name in ("Ip:OutNoRoutes", "Ip:OutRequests", "Tcp:ActiveOpens", "Udp:OutDatagrams")
    }
    assert set(tried.values()) == {0}, tried
    assert Written(over).steps
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_without_the_package_a_search_goes_on(over: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(weights_and_biases, "find_spec", lambda name: None)
    go_on(over)
    (warning,) = [record.getMessage() for record in caplog.records if "trackers" in record.getMessage()]
    assert "pip install 'evohpc[wandb]'" in warning


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit('no space left')", "wandb: no space left"),
        ("import time; time.sleep(60)", "wandb was not done after 1 s"),
        ("import os; os.kill(os.getpid(), 9)", "wandb: exit code -9"),
        ("", "wandb: AttributeError: module 'wandb' has no attribute 'Settings'"),
        (EMPTY, "wandb: nothing was written"),
    ],
)
def test_a_writer_that_fails_or_hangs_is_a_warning(
    program: str, said: str, over: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/wandb.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'broken'}:{ROOT}")
    monkeypatch.setattr(weights_and_biases, "AT_MOST_S", 1.0 if "sleep" in program else 100.0)
    go_on(over)
    (warning,) = [record.getMessage() for record in caplog.records if "trackers" in record.getMessage()]
    assert said in warning
    assert not list(over.glob("wandb/*"))


@pytest.mark.slow
def test_a_step_has_the_time_that_it_is_given(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    scalars = [(0, "best/fitness", -3.0, 1000.5), (7, "best/fitness", -2.0, 2000.5), (7, "best/error", 0.1, 2000.5)]
    given = {"folder": str(tmp_path), "id": "r-1", "name": "r", "config": {}, "scalars": scalars}
    command = [sys.executable, "-m", wandb_run.__name__, str(os.getpid())]
    environment = {**wandb_run.environment(str(tmp_path)), "PYTHONPATH": str(ROOT)}
    subprocess.run(command, input=json.dumps(given), text=True, env=environment, check=True)
    assert [(step, values["_timestamp"]) for step, values in Written(tmp_path).steps] == [(0, 1000.5), (7, 2000.5)]


def test_it_ends_with_its_driver() -> None:
    """The writer waits for its input, and its parent is killed."""
    program = (
        "import subprocess, sys, os; p = subprocess.Popen([sys.executable, '-m', 'evohpc.search.wandb_run', "
        "str(os.getpid())], stdin=subprocess.PIPE); print(p.pid, flush=True); p.wait()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        writer = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{writer}").exists(), "the writer ends")
