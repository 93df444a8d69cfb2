"""What a process does to itself before it becomes a candidate. None of it can be undone."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import site
import sys
import sysconfig
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from evohpc import linux
from evohpc.sandbox import hiding, landlock, seccomp
from evohpc.sandbox.base import Limits

KEPT_VARIABLES = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""All that a candidate's process has of its user's environment."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/cuda", "/opt/rocm")
_FACTS = ("/etc/ld.so.cache", "/etc/localtime", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system")
_DEVICES = ("/dev/null", "/dev/random", "/dev/urandom")
"""Not /dev/zero: it is memory without a file, if mapped."""
_GPU_DEVICES = ("/dev/nvidia*", "/dev/kfd", "/dev/dri", "/proc/driver/nvidia*")
_GPU_FACTS = ("/sys/class/kfd", "/sys/bus/pci", "/sys/module")
_OPEN_FILES = 256
_PACKAGE = Path(__file__).resolve().parent.parent


def environment(home: Path | str, threads: int) -> dict[str, str]:
    """Return the whole environment of a candidate's process."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    own = {"PATH": "/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(home)}
    return {**kept, **fixed_environment(threads), **own}


def fixed_environment(threads: int) -> dict[str, str]:
    """Return what a candidate's process has in its environment wherever it runs; Python and torch read some of it only
    when they start."""
    return {
        **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        **linux.SPARING,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",  # the order of sets decides the order of modules
        "PYTHONDONTWRITEBYTECODE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic only with it
    }


def detach(log: int, home: Path, threads: int) -> None:
    """Leave the parent's session, terminal, files and environment; print to `log`; work in `home`."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGXFSZ else signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment(home, threads))
    nothing = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.umask(0o077)
    os.chdir(home)


def close_files(keep: int) -> None:
    """Close every descriptor above 2 but one."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != keep:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(int(name))


def limit(limits: Limits, threads: int) -> None:
    """Set resource limits. They back up the supervisor, which sees the whole tree; these hold for one process.

    No RLIMIT_AS: CUDA reserves far more addresses than it uses.
    """
    cpu_s = int(limits.wall_s * (threads + 1)) + 10
    _lower(resource.RLIMIT_CPU, cpu_s)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, limits.disk_bytes)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _lower(resource.RLIMIT_DATA, _data_bytes() + limits.memory_bytes)
    with contextlib.suppress(OSError):  # of all processes in the job, the kernel's OOM killer takes this one
        Path("/proc/self/oom_score_adj").write_text("1000")


def confine(readable: Sequence[Path], writable: Path, hidden: Collection[str] = ()) -> None:
    """Give up capabilities, all files but these and the libraries, the network and other processes, as far as this
    kernel allows; what was reached is for `probe` to find out.

    Args:
        hidden: modules whose files are no part of the libraries: see `Stage.hidden`.

    Raises:
        OSError: the kernel has the means and refused them.
        RuntimeError: what is to be hidden was imported before.
    """
    kept_out = hidden_places(hidden)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.drop_capabilities()
    if landlock.abi():
        rules = [rule for root in libraries() for rule in hiding.rules(root, kept_out)]
        rules += [(path, landlock.READ) for path in readable]
        devices = [(path, landlock.DEVICE) for path in _devices()]
        landlock.restrict([*rules, *devices, (writable, landlock.WRITE)])
    if seccomp.is_supported():
        seccomp.restrict(has_gpu())


def hidden_places(modules: Collection[str]) -> frozenset[Path]:
    """Return where modules lie that are to be hidden.

    Raises:
        RuntimeError: one was imported before.
    """
    return hiding.places(modules, [_PACKAGE.parent, *libraries()])


def libraries() -> list[Path]:
    """Return the files and folders that a Python process with torch may need to read, at any time."""
    installed = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    conda = [f"{prefix}/lib" for prefix in (sys.prefix, sys.base_prefix)]
    linked = [entry for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry.startswith("/")]
    packages = [*site.getsitepackages(), *(entry for entry in sys.path if entry.endswith("-packages"))]
    gpu = _GPU_FACTS if has_gpu() else ()
    names = dict.fromkeys([*_SYSTEM, *_FACTS, *installed, *conda, *linked, *packages, *gpu, str(_PACKAGE)])
    return [Path(name) for name in names]


def has_gpu() -> bool:
    """Say whether this host has devices of GPUs."""
    return any(_glob(pattern) for pattern in _GPU_DEVICES)


def _devices() -> Iterator[Path]:
    yield from (Path(name) for name in _DEVICES)
    for pattern in _GPU_DEVICES:
        yield from _glob(pattern)


def _glob(pattern: str) -> list[Path]:
    return list(Path("/").glob(pattern.lstrip("/")))


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _data_bytes() -> int:
    """Return what already counts against RLIMIT_DATA."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
