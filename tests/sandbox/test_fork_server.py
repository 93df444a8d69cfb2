"""The fork server as a process of its own; what it forks is tested through the runtime, in `test_evaluate`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.cluster.daemons import wait_until

from evohpc import envelopes
from evohpc.sandbox import process_tree
from evohpc.sandbox.base import Limits
from evohpc.sandbox.fork_server import Answer, Hello, Launch
from evohpc.sandbox.process_runtime import PROGRAM

ENTRY = "evohpc.sandbox.container_probe"
"""The stage whose `preload` is quick."""


@contextmanager
def started(entry: str) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-P", "-c", PROGRAM, json.dumps([path for path in sys.path if path]), entry]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as server:
        yield server
        server.kill()


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    with started(ENTRY) as server:
        yield server


def order(server: subprocess.Popen[bytes], entry: str, inputs: str, out: str) -> None:
    """Order a stage of a server that has said hello."""
    limits = Limits(wall_s=99, memory_bytes=1 << 30, disk_bytes=1 << 20, log_bytes=10, files=5, processes=5)
    assert server.stdin is not None
    server.stdin.write((envelopes.encode(Launch(entry, inputs, (), out, limits, 1, ())) + "\n").encode())
    server.stdin.flush()


def said(server: subprocess.Popen[bytes]) -> bytes:
    assert server.stdout is not None
    return server.stdout.readline()


def test_nobody_listening_ends_it_without_a_word(server: subprocess.Popen[bytes]) -> None:
    assert server.stdout is not None
    server.stdout.close()
    server.stdout = None
    _, errors = server.communicate(timeout=100)
    assert errors == b""
    assert server.returncode == 0


def test_an_order_it_cannot_carry_out_is_answered(server: subprocess.Popen[bytes]) -> None:
    assert envelopes.decode(said(server), Hello).threads == 1
    order(server, ENTRY, "/nonexistent", "/nonexistent")
    assert "/nonexistent" in envelopes.decode(said(server), Answer).failure
    server.communicate(timeout=100)
    assert server.returncode == 0


def test_a_supervisor_that_is_killed_is_answered_for_and_leaves_nothing(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("in", "out")]
    for folder in folders:
        folder.mkdir()
    with started("support.hanging_stage") as server:
        assert envelopes.decode(said(server), Hello).threads == 1
        for _ in range(2):
            order(server, "support.hanging_stage", *map(str, folders))
            wait_until(lambda: len(process_tree.descendants(server.pid)) == 2, "the stage runs")
            (supervisor,) = process_tree.children(server.pid)
            os.kill(supervisor, signal.SIGKILL)
            assert (
                envelopes.decode(said(server), Answer).failure == "the process that supervises a stage ended (SIGKILL)"
            )
            assert process_tree.descendants(server.pid) == []
