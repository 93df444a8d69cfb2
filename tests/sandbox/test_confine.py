"""The kernel's fences. What they hold against candidates is in test_hostile.py."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT, TESTS

from evohpc.errors import EvaluationError
from evohpc.messages import Isolation
from evohpc.sandbox import confine, landlock, seccomp, syscalls
from evohpc.sandbox.probe import Probe, probe, require
from evohpc.sandbox.seccomp import ARCHITECTURES

ALLOW = 0x7FFF0000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
ME = 4242
NOTHING = Probe(False, False, False, False, False)


def decide(machine: str, number: int, *arguments: int, architecture: int | None = None, with_gpu: bool = False) -> int:
    """Run the filter as the kernel would; return its verdict."""
    words = {0: number, 4: architecture or ARCHITECTURES[machine]}
    words |= {16 + 8 * place: argument for place, argument in enumerate((*arguments, *[0] * (6 - len(arguments))))}
    program, at, accumulator = seccomp.build(machine, ME, with_gpu), 0, 0
    while True:
        step = program[at]
        at += 1
        if step.code == 0x06:
            return step.value
        if step.code == 0x20:
            accumulator = words[step.value]
            continue
        hit = {
            0x15: accumulator == step.value,
            0x35: accumulator >= step.value,
            0x45: bool(accumulator & step.value),
        }[step.code]
        at += step.then if hit else step.otherwise


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_filter_refuses_every_number_of_the_table(machine: str) -> None:
    numbers = syscalls.refused(machine)
    assert len(numbers) == len(set(numbers)) > 80
    assert {decide(machine, number) for number in numbers} == {EPERM}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_filter_looks_at_arguments(machine: str) -> None:
    number = syscalls.limited(machine)
    thread, fork = 0x3D0F00, 0x01200011
    assert decide(machine, number["clone"], thread) == ALLOW
    assert decide(machine, number["clone"], fork) == EPERM
    assert decide(machine, number["clone3"]) == ENOSYS
    for name in ("kill", "tgkill"):
        assert decide(machine, number[name], ME) == ALLOW
        assert decide(machine, number[name], ME + 1) == EPERM
        assert decide(machine, number[name], 0xFFFFFFFF) == EPERM
        assert decide(machine, number[name], 0) == EPERM
    assert decide(machine, number["prlimit64"], 0) == decide(machine, number["prlimit64"], ME) == ALLOW
    assert decide(machine, number["prlimit64"], 1) == EPERM
    for pid in (0, 1, ME):
        assert decide(machine, number["sched_setaffinity"], pid) == EPERM
    for advice, answer in {0: ALLOW, 3: ALLOW, 4: ALLOW, 8: ALLOW, 14: ALLOW, 20: EPERM, 21: EPERM}.items():
        assert decide(machine, number["madvise"], 0, 4096, advice) == answer
    assert decide(machine, number["clone"], 0x00010000) == EPERM, "a thread with files of its own"
    for option in (1, 4):
        assert decide(machine, number["prctl"], option) == EPERM
    assert decide(machine, number["prctl"], 15) == ALLOW
    for command in (8, 10, 15, 1024, 1026, 6, 7, 37, 38):
        assert decide(machine, number["fcntl"], 5, command) == EPERM
    for command in (0, 1, 2, 3, 4, 1030, 1031):
        assert decide(machine, number["fcntl"], 8, command) == ALLOW
    for request in (0x8901, 0x8902, 0x5412):
        assert decide(machine, number["ioctl"], 0, request) == EPERM
    for request in (0x5401, 0x5413, 0x541B, 0x5451):
        assert decide(machine, number["ioctl"], 0, request) == ALLOW
    assert decide(machine, number["close_range"], 3, 9, 2) == EPERM
    assert decide(machine, number["close_range"], 3, 9, 0) == ALLOW
    private, shared, shared_file = 0x22, 0x21, 0x01
    assert decide(machine, number["mmap"], 0, 4096, 3, shared) == EPERM
    assert decide(machine, number["mmap"], 0, 4096, 3, private) == ALLOW
    assert decide(machine, number["mmap"], 0, 4096, 3, shared_file) == ALLOW


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_filter_lets_the_drivers_of_gpus_live(machine: str) -> None:
    number = syscalls.limited(machine)
    assert decide(machine, number["mmap"], 0, 4096, 3, 0x21, with_gpu=True) == ALLOW
    assert decide(machine, number["fcntl"], 5, 6, with_gpu=True) == ALLOW
    assert decide(machine, number["fcntl"], 5, 8, with_gpu=True) == EPERM
    assert decide(machine, number["sched_setaffinity"], 0, with_gpu=True) == ALLOW
    assert decide(machine, number["sched_setaffinity"], 1, with_gpu=True) == EPERM


def test_the_filter_lets_a_training_live() -> None:
    read, write, mmap, futex, openat, exit_group = 0, 1, 9, 202, 257, 231
    assert {decide("x86_64", n) for n in (read, write, mmap, futex, openat, exit_group)} == {ALLOW}


def test_the_filter_refuses_other_ways_into_the_kernel() -> None:
    i386, socketcall = 0x40000003, 102
    assert decide("x86_64", socketcall, architecture=i386) == EPERM
    assert decide("x86_64", 0x40000000 | 41) == EPERM


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
def test_landlock_allows_what_is_named_and_nothing_else(tmp_path: Path) -> None:
    for name in ("read", "write", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    script = f"""
import os, sys
from pathlib import Path
from evohpc.sandbox import landlock
base = Path({str(tmp_path)!r})
landlock.restrict([(base / "read", landlock.READ), (base / "write", landlock.WRITE), (base / "no", landlock.READ)])
def fails(act):
    try:
        act()
    except OSError:
        return True
    return False
assert (base / "read" / "file").read_text() == "read"
(base / "write" / "new").write_text("new")
(base / "write" / "new").unlink()
assert fails(lambda: (base / "read" / "file").write_text(""))
assert fails(lambda: (base / "read" / "new").touch())
assert fails(lambda: (base / "other" / "file").read_text())
assert fails(lambda: os.listdir(base))
assert fails(lambda: os.symlink("/", base / "write" / "link"))
assert fails(lambda: os.rename(base / "write" / "file", base / "other" / "file2"))
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert (tmp_path / "read" / "file").read_text() == "read"


def test_the_environment_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "LD_PRELOAD", "PYTHONPATH", "APPTAINER_BINDPATH", "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    made = confine.environment("/scratch", threads=2)
    assert not made.keys() & {"HF_TOKEN", "LD_PRELOAD", "PYTHONPATH", "APPTAINER_BINDPATH", "SLURM_JOB_ID"}
    assert (made["HOME"], made["OMP_NUM_THREADS"], made["CUDA_VISIBLE_DEVICES"]) == ("/scratch", "2", "3")


def test_libraries_expose_no_home_and_no_repository() -> None:
    exposed = {path.resolve() for path in confine.libraries()}
    assert not exposed & {Path("/"), Path.home(), Path("/tmp"), TESTS, ROOT}


def test_probe_finds_what_the_kernel_holds(tmp_path: Path) -> None:
    secret = tmp_path / "labels"
    secret.write_text("x")
    found = probe(secret)
    complete = landlock.abi() >= 1 and seccomp.is_supported()
    assert found.isolation is (Isolation.CONFINED if complete else Isolation.PROCESS)


def test_probe_sees_a_hole() -> None:
    # A secret inside a library folder can be read, and the probe must say so.
    inside = Path(confine.__file__)
    assert probe(inside).reads_foreign_files


@pytest.mark.parametrize("minimum", [Isolation.NONE, Isolation.PROCESS, Isolation.CONFINED])
def test_enough_is_enough(minimum: Isolation) -> None:
    require(minimum, NOTHING)


def test_too_little_is_refused_with_what_is_missing() -> None:
    weak = Probe(True, False, True, False, False)
    with pytest.raises(EvaluationError, match="could read files of this user, open network connections") as caught:
        require(Isolation.CONFINED, weak)
    assert "or set evaluation.minimum_isolation to process" in str(caught.value)
    require(Isolation.PROCESS, weak)
