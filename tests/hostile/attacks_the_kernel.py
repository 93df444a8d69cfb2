# H8 honest: namespaces, ptrace, signals, capabilities
import ctypes
import os

from torch import nn

print("attacking")
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH = 16
for name, call in {
    "unshare": lambda: libc.unshare(0x10000000),
    "ptrace": lambda: libc.ptrace(PTRACE_ATTACH, os.getppid(), None, None),
    "mount": lambda: libc.mount(b"none", b".", b"tmpfs", 0, None),
    "chroot": lambda: libc.chroot(b"."),
    "setuid": lambda: libc.setuid(12345),
    "memfd": lambda: libc.memfd_create(b"x", 0),
    "shmget": lambda: libc.shmget(1234, 4096, 0o1600),
    "outlive the supervisor": lambda: libc.prctl(1, 0, 0, 0, 0),
}.items():
    if call() >= 0:
        print("ESCAPED:", name)
for pid in (os.getppid(), 1, -1, 0):
    try:
        os.kill(pid, 0)
        print("ESCAPED: signalled", pid)
    except OSError:
        pass


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
