"""The supervisor alone, over plain commands that no kernel feature holds back."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evohpc import envelopes
from evohpc.sandbox import process_tree, supervise
from evohpc.sandbox.base import Limits, Processor

LIMITS = Limits(wall_s=200, memory_bytes=1 << 30, disk_bytes=8 << 20, log_bytes=1000, files=50, processes=20)

SUPERVISOR = """
import dataclasses, os, subprocess, sys, time
from pathlib import Path
from evohpc import envelopes
from evohpc.sandbox import supervise
from evohpc.sandbox.base import Limits
supervise.prepare()
log, end = os.pipe()
child = subprocess.Popen(sys.argv[3:], stdout=end, stderr=end, stdin=subprocess.DEVNULL, cwd=sys.argv[2])
os.close(end)
limits = envelopes.decode(sys.argv[1], Limits)
while (ready := os.environ.get("EVOHPC_READY_FILE")) and not Path(sys.argv[2], ready).exists():
    time.sleep(0.01)
try:
    outcome = supervise.Supervision(child.pid, log, Path(sys.argv[2]), limits, lifeline=0).wait()
    print(envelopes.encode({**dataclasses.asdict(outcome), "log": outcome.log.decode("latin-1")}))
except supervise.Abandoned:
    print('{"ending": "abandoned"}')
child.returncode = 0
"""


def start(out: Path, command: list[str], **limits: float) -> subprocess.Popen[str]:
    """Supervise a command from a process of its own, as the fork server does; its stdin is the lifeline."""
    told = envelopes.encode(dataclasses.replace(LIMITS, **limits))  # type: ignore[arg-type]
    arguments = [sys.executable, "-c", SUPERVISOR, told, str(out), *command]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def outcome_of(supervisor: subprocess.Popen[str], *, wait: bool = True) -> dict[str, object]:
    assert supervisor.stdout is not None
    assert supervisor.stdin is not None
    answer = supervisor.stdout.readline() if wait else ""
    with supervisor:
        supervisor.stdin.close()
        answer = answer or supervisor.stdout.readline()
    return dict(json.loads(answer))


def shell(out: Path, script: str, **limits: float) -> dict[str, object]:
    return outcome_of(start(out, ["/bin/sh", "-c", script], **limits))


def python(out: Path, script: str, **limits: float) -> dict[str, object]:
    return outcome_of(start(out, [sys.executable, "-c", script], **limits))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("script", "ending", "code"),
    [("exit 0", "exited", 0), ("exit 3", "exited", 3), ("kill -SEGV $$", "signalled", -signal.SIGSEGV)],
)
def test_ends_by_itself(tmp_path: Path, script: str, ending: str, code: int) -> None:
    outcome = shell(tmp_path, script)
    assert (outcome["ending"], outcome["exit_code"]) == (ending, code)


def test_keeps_the_end_of_the_output(tmp_path: Path) -> None:
    outcome = shell(tmp_path, "yes | head -c 3000000; echo last >&2")
    assert len(str(outcome["log"])) == LIMITS.log_bytes
    assert str(outcome["log"]).endswith("last\n")


def test_a_timeout_ends_the_whole_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A daemon in a session of its own, which ignores SIGTERM and whose parent is gone.
    monkeypatch.setenv("EVOHPC_READY_FILE", "daemon")  # its time begins to run only then
    begin = "echo $$ > new; mv new daemon"
    script = f"trap '' TERM; (setsid sh -c 'trap \"\" TERM; {begin}; sleep 300' &) ; sleep 300"
    outcome = shell(tmp_path, script, wall_s=0.2)
    assert outcome["ending"] == "timeout"
    assert not alive(int((tmp_path / "daemon").read_text()))


SPIN = "import os; os.sched_setaffinity(0, [{cpu}]); os.nice({nice})\nwhile True: pass"


def test_a_timeout_tells_who_had_the_processor(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    asleep = outcome_of(start(tmp_path, ["sleep", "9"], wall_s=0.3))
    with subprocess.Popen([sys.executable, "-c", SPIN.format(cpu=cpu, nice=0)]) as neighbour:
        late = python(tmp_path, SPIN.format(cpu=cpu, nice=19), wall_s=1.5)
        neighbour.kill()
    assert asleep["ending"] == late["ending"] == "timeout"
    assert not processor(asleep).is_starved(0.3, 1)
    assert processor(late).is_starved(1.5, 1)
    assert processor(late).asked_s(1.5, 1) > 1


IN_BURSTS = """
import hashlib, threading, time
def work():
    while True:
        together.wait()
        hashlib.sha256(block).digest()
        time.sleep(0.5)
block, together = bytes(2_000_000), threading.Barrier(120)
for _ in range(120): threading.Thread(target=work).start()
"""


def test_threads_that_wait_for_each_other_are_not_kept_from_running(tmp_path: Path) -> None:
    late = processor(python(tmp_path, IN_BURSTS, wall_s=4, processes=256))
    assert 0 < late.waited_s < 4
    assert not late.is_starved(4, 1)


def test_the_cpu_seconds_of_what_ended_are_known(tmp_path: Path) -> None:
    outcome = python(tmp_path, "import os, time\nos.fork()\nwhile time.process_time() < 0.3: pass\ntime.sleep(1.5)")
    assert outcome["ending"] == "exited"
    assert 0.55 < processor(outcome).cpu_s < 1.5, "of both processes"  # which sleep: no last moment of theirs is missed


def processor(outcome: dict[str, object]) -> Processor:
    return envelopes.decode(json.dumps(outcome["processor"]), Processor)


def test_a_daemon_does_not_outlive_an_honest_end(tmp_path: Path) -> None:
    script = "setsid sh -c 'echo $$ > daemon; exec sleep 300' & while [ ! -s daemon ]; do :; done"
    assert shell(tmp_path, script)["ending"] == "exited"
    assert not alive(int((tmp_path / "daemon").read_text()))


def test_the_memory_of_all_processes_counts(tmp_path: Path) -> None:
    hold = "import os, time; os.fork(); os.fork(); held = bytearray(b'x' * (100 << 20)); time.sleep(600)"
    outcome = python(tmp_path, hold, memory_bytes=300 << 20)
    assert outcome["ending"] == "out_of_memory"
    assert int(str(outcome["peak_memory"])) > 300 << 20


@pytest.mark.parametrize(
    "script",
    [
        "while :; do head -c 1000000 /dev/zero >> big; done",
        "i=0; while :; do : > $i; i=$((i+1)); done",
        "mkdir -p a/b/c; while :; do head -c 1000000 /dev/zero >> a/b/c/big; done",
        "exec 3> big; rm big; while :; do head -c 1000000 /dev/zero >&3; done",
    ],
    ids=["bytes", "files", "nested", "unlinked"],
)
def test_the_disk_limit(tmp_path: Path, script: str) -> None:
    assert shell(tmp_path, script)["ending"] == "disk_limit"


def test_what_was_written_just_before_the_end_counts(tmp_path: Path) -> None:
    assert shell(tmp_path, "head -c 9000000 /dev/zero > big")["ending"] == "disk_limit"


def test_a_flood_of_output_hides_nothing(tmp_path: Path) -> None:
    script = f"yes & exec {sys.executable} -c 'import time; held = bytearray(b\"x\" * (400 << 20)); time.sleep(600)'"
    assert shell(tmp_path, script, memory_bytes=300 << 20)["ending"] == "out_of_memory"


def test_a_bounded_fork_bomb(tmp_path: Path) -> None:
    script = "import os, time\nfor _ in range(7): os.fork()\ntime.sleep(600)"
    assert python(tmp_path, script)["ending"] == "process_limit"


def test_a_tree_is_ended_however_long_this_process_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    others = process_tree.children(os.getpid())
    hours = itertools.count(step=3600.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(hours))
    with subprocess.Popen(["sleep", "600"]) as child:
        process_tree.kill_descendants(os.getpid(), others)
        assert not alive(child.pid)


def test_the_stage_ends_with_whoever_asked_for_it(tmp_path: Path) -> None:
    supervisor = start(tmp_path, ["/bin/sh", "-c", "echo $$ > pid; exec sleep 300"])
    pid = tmp_path / "pid"
    while not pid.exists() or not pid.read_text():
        time.sleep(0.01)
    assert outcome_of(supervisor, wait=False)["ending"] == "abandoned"
    assert not alive(int(pid.read_text()))


def test_other_children_of_the_supervisor_are_left_alone() -> None:
    before = set(process_tree.children(os.getpid()))
    with subprocess.Popen(["sleep", "60"]) as other, subprocess.Popen(["sleep", "60"]) as mine:
        assert process_tree.descendants(os.getpid(), before | {other.pid}) == [mine.pid]
        mine.kill()
        other.kill()


def test_fits_stops_counting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(5000))
    limits = dataclasses.replace(LIMITS, disk_bytes=4096)
    assert not supervise.fits(tmp_path, limits)
    assert supervise.fits(tmp_path, dataclasses.replace(limits, disk_bytes=1 << 20))
    assert not supervise.fits(tmp_path, dataclasses.replace(limits, disk_bytes=1 << 20), already=1 << 20)
