"""One run folder, two clients of a network file system: `PYTHONPATH=.:tests python tests/support/two_clients.py A B`.

A and B are the same empty folder as two clients show it, on one host or mounted twice. Processes on both sides write
the same names, take the lease and drive a search whose results come from the other side; they are killed, and one is
stopped until it is replaced. Prints what was tried as JSON; ends with a traceback if anything was lost or doubled.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from evohpc.driver import lease
from evohpc.errors import EvohpcError
from evohpc.files import write_once
from evohpc.messages import Attempt, Result
from evohpc.run_folder import RunDir
from support.driving import Driving, InstantRunner, make_run, measure, tables

NAMES, RACES, KILLS = 300, 20, 10
_TWINS = 2
"""Processes on each client in a race."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clients", type=Path, nargs=2)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--races", type=int, default=RACES)
    parser.add_argument("--no-takeover", action="store_true", help="leave out what takes minutes by the clock")
    options = parser.parse_args()
    clients = options.clients
    tried = {
        "names that processes on both clients wrote at once; each has one winner": one_winner(clients),
        "starts of drivers on both clients at once; one drives": one_driver(clients, options.races),
        "kill -9 of a driver, resumed on the other client; the same tables": killed(clients, options.kills),
    }
    if not options.no_takeover:
        tried["drivers that stood still, were replaced from another host and woke again; the same tables"] = replaced(
            clients
        )
    print(json.dumps(tried, indent=1))


def one_winner(clients: Sequence[Path]) -> int:
    """Have processes on both clients write the same names, each in an order of its own."""
    (clients[0] / "names").mkdir()
    writers = [start("write", client / "names", f"{number}") for client in clients for number in range(_TWINS)]
    won = [json.loads(finish(writer)) for writer in writers]
    assert sorted(name for names in won for name in names) == sorted(map(str, range(NAMES)))
    for client in clients:
        for winner, names in enumerate(won):
            assert {(client / "names" / name).read_text() for name in names} <= {str(winner % _TWINS)}
    return NAMES


def one_driver(clients: Sequence[Path], races: int) -> int:
    """Have processes on both clients become the driver of the same runs at once."""
    for race in range(races):
        make_run(clients[0] / f"race-{race}")
        racing = [
            start("acquire", client / f"race-{race}", f"{number}") for client in clients for number in range(_TWINS)
        ]
        said = [line_of(process) for process in racing]  # all, before the first lets go
        for process in racing:
            finish(process)
        assert sorted(said) == ["False"] * (len(said) - 1) + ["True"], said
    return races


def killed(clients: Sequence[Path], kills: int) -> int:
    """Kill drivers on one client and the other by turns, while results come from the other one."""
    make_run(clients[0] / "undisturbed")
    started = time.monotonic()
    expected = finish(start("drive", clients[0] / "undisturbed", str(clients[0] / "undisturbed")))
    took, rng, count, number = time.monotonic() - started, random.Random(12), 0, 0
    while count < kills:
        run = f"killed-{number}"
        make_run(clients[0] / run)
        for turn in range(kills):
            driver = start("drive", clients[turn % 2] / run, str(clients[1 - turn % 2] / run))
            try:
                driver.wait(rng.uniform(0.1, 0.7) * took)
            except subprocess.TimeoutExpired:
                driver.kill()
                count += 1
            ended = driver.wait() == 0
            if ended or count == kills:
                break
        assert finish(start("drive", clients[1] / run, str(clients[0] / run))) == expected
        number += 1
    return count


def replaced(clients: Sequence[Path]) -> int:
    """Stop a driver until one on another host has taken over and finished; then let it go on."""
    expected = finish(start("drive", clients[0] / "undisturbed", str(clients[0] / "undisturbed")))
    make_run(clients[0] / "replaced")
    first = start("drive", clients[0] / "replaced", str(clients[1] / "replaced"), "--host", "one", "--pause", "0.3")
    while not any((clients[0] / "replaced/rounds").glob("000/results/*")):
        time.sleep(0.05)
    first.send_signal(signal.SIGSTOP)
    second = start("drive", clients[1] / "replaced", str(clients[0] / "replaced"), "--host", "two")
    assert finish(second) == expected
    first.send_signal(signal.SIGCONT)
    said = first.communicate(timeout=600)[1]
    assert first.returncode == 1, said
    assert finish(start("drive", clients[1] / "replaced", str(clients[0] / "replaced"), "--host", "two")) == expected
    return 1


def start(what: str, path: Path, *more: str) -> subprocess.Popen[str]:
    """Start a process of one client."""
    command = [sys.executable, __file__, "--child", what, str(path), *more]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def line_of(process: subprocess.Popen[str]) -> str:
    """Wait for the first line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a process, which may read to the end of its input; return what it printed."""
    out, error = process.communicate(timeout=900)
    assert process.returncode == 0, error
    return out


def child() -> None:
    """Do what one process of one client does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--child", choices=["write", "acquire", "drive"])
    parser.add_argument("path", type=Path)
    parser.add_argument("more")
    parser.add_argument("--host", default=socket.gethostname())
    parser.add_argument("--pause", type=float, default=0.0)
    options = parser.parse_args()
    socket.gethostname = lambda: options.host
    if options.child == "write":
        names = random.Random(f"{options.path} {options.more}").sample(range(NAMES), NAMES)
        print(json.dumps([str(name) for name in names if write_once(options.path / str(name), options.more)]))
    elif options.child == "acquire":
        _acquire(RunDir(options.path))
    else:
        _drive(RunDir(options.path), RunDir(Path(options.more)), options.pause)


def _acquire(run: RunDir) -> None:
    """Try to become the driver; say whether it worked, and stay alive until all have tried."""
    try:
        lease.acquire(run)
        drives = True
    except EvohpcError:
        drives = False
    print(drives, flush=True)
    sys.stdin.read()


def _drive(run: RunDir, seen_from_there: RunDir, pause: float) -> None:
    """Drive a run to its end; print a digest of its tables. Its results are written by the other client."""

    def slowly(source: str, attempt: Attempt) -> Result | None:
        time.sleep(pause)
        return measure(source, attempt)

    runner = InstantRunner(seen_from_there, slowly)
    try:
        with Driving(run, runner=runner, wait=_wait, grace_s=1.0) as driving:
            driving.driver.drive()
            print(hashlib.sha256(repr(tables(driving.store)).encode()).hexdigest())
    except EvohpcError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def _wait(seconds: float) -> bool:
    time.sleep(min(seconds, 0.2))
    return False


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
