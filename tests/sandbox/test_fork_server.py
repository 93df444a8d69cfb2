"""The fork server as a process of its own; what it forks is tested through the runtime, in `test_evaluate`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from evohpc import envelopes
from evohpc.sandbox.fork_server import Answer, Hello
from evohpc.sandbox.process_runtime import PROGRAM

ENTRY = "evohpc.sandbox.container_probe"
"""The stage whose `preload` is quick."""


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-P", "-c", PROGRAM, json.dumps([path for path in sys.path if path]), ENTRY]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as started:
        yield started
        started.kill()


def test_nobody_listening_ends_it_without_a_word(server: subprocess.Popen[bytes]) -> None:
    assert server.stdout is not None
    server.stdout.close()
    server.stdout = None
    _, errors = server.communicate(timeout=100)
    assert errors == b""
    assert server.returncode == 0


def test_an_order_it_cannot_carry_out_is_answered(server: subprocess.Popen[bytes]) -> None:
    limits = {"wall_s": 99, "memory_bytes": 1 << 30, "disk_bytes": 1 << 20, "log_bytes": 10, "files": 5, "processes": 5}
    order = {
        "entry": ENTRY,
        "inputs": "/nonexistent",
        "readable": [],
        "out": "/nonexistent",
        "limits": limits,
        "threads": 1,
        "hidden": [],
    }
    assert server.stdin is not None
    assert server.stdout is not None
    assert envelopes.decode(server.stdout.readline(), Hello).threads == 1
    server.stdin.write((json.dumps(order) + "\n").encode())
    server.stdin.flush()
    assert "/nonexistent" in envelopes.decode(server.stdout.readline(), Answer).failure
    server.communicate(timeout=100)
    assert server.returncode == 0
