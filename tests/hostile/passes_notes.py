# F9 honest: leaves notes of every kind for the processes that predict
import ctypes
import os
import socket
import stat
import threading
import time
from pathlib import Path

from torch import nn

NOTE = b"evohpc-note"
NAME = NOTE.decode()
FOLDERS = ["/", "/tmp", "/dev/shm", "/var/tmp", "/run", "/dev/mqueue", "/in", "/out", "..", "../..", "/in/shared"]
KEY, CREATE = 0x5EED, 0o1666
ADD_KEY, KEYCTL, SESSION_KEYRING, SEARCH = 248, 250, -3, 10
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
is_training = not (Path(__file__).parent / "weights").exists()


def ignoring(action, *arguments):
    try:
        return action(*arguments)
    except OSError:
        return None


def can_signal(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def shared_mappings():
    """Memory that a process forked earlier may hold, too."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        range, modes = line.split()[:2]
        if "w" in modes and "s" in modes:
            first, last = (int(number, 16) for number in range.split("-"))
            yield first, last - first


def leave():
    for folder in FOLDERS:
        path = os.path.join(folder, NAME)
        ignoring(Path(path).write_bytes, NOTE)
        ignoring(os.mkdir, path + ".d")
        ignoring(os.mkfifo, path + ".p")
        ignoring(os.symlink, NAME, path + ".l")
    for name in ("shm_open", "mq_open"):
        getattr(libc, name, lambda *_: -1)(b"/" + NOTE, 0o102, 0o600, None)
    libc.shmget(KEY, 4096, CREATE)
    libc.msgget(KEY, CREATE)
    libc.semget(KEY, 1, CREATE)
    libc.syscall(ADD_KEY, b"user", NOTE, NOTE, len(NOTE), SESSION_KEYRING)
    for address, size in shared_mappings():
        ctypes.memmove(address + size - len(NOTE), NOTE, len(NOTE))
    ignoring(lambda: socket.socket(socket.AF_UNIX).bind("\0" + NAME))
    os.environ["NOTE"] = NAME
    for number in (100, 200):
        os.dup2(os.pipe()[1], number, inheritable=True)
        os.write(number, NOTE)
    os.write(1, b"attacking\n")
    if ignoring(os.fork) == 0:
        os.setsid()
        time.sleep(600)
    threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
    for pid in (os.getppid(), 1, os.getpid() + 1):
        if can_signal(pid):
            print("ESCAPED: can signal", pid)


def find():
    for folder in FOLDERS:
        for end in ("", ".d", ".p", ".l"):
            if os.path.lexists(os.path.join(folder, NAME + end)):
                yield folder + end
    for name in ("shmget", "msgget"):
        if getattr(libc, name)(KEY, 0, 0) >= 0:
            yield name
    if libc.semget(KEY, 1, 0) >= 0:
        yield "semget"
    for name in ("shm_open", "mq_open"):
        if getattr(libc, name, lambda *_: -1)(b"/" + NOTE, 0, 0, None) >= 0:
            yield name
    if libc.syscall(KEYCTL, SEARCH, SESSION_KEYRING, b"user", NOTE, 0) >= 0:
        yield "keyring"
    for address, size in shared_mappings():
        if NOTE in ctypes.string_at(address, size):
            yield "shared memory"
    if os.environ.get("NOTE"):
        yield "environment"
    for number in range(3, 256):
        if ignoring(os.fstat, number) and stat.S_ISFIFO(os.fstat(number).st_mode):
            yield f"descriptor {number}"
    log = ignoring(os.open, "/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
    if log is not None and b"attacking" in (ignoring(os.read, log, 65536) or b""):
        yield "log"
    for pid in processes():
        if pid not in (1, os.getpid(), os.getppid()) and os.path.exists(f"/proc/{pid}/task") and is_mine(pid):
            yield f"process {pid}"


def processes():
    """Those that are listed; where none are, all numbers that may be one, or a thread."""
    listed = ignoring(os.listdir, "/proc")
    return range(2, 400) if listed is None else [int(name) for name in listed if name.isdigit()]


def is_mine(pid):
    """A process that came to be after this one's parent, and is no thread of one that must be there."""
    is_thread = any(os.path.exists(f"/proc/{pid}/task/{known}") for known in (1, os.getppid(), os.getpid()))
    return os.stat(f"/proc/{pid}").st_uid == os.getuid() and pid > os.getppid() and not is_thread


if is_training:
    leave()
else:
    for place in find():
        print("ESCAPED: found", place)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
