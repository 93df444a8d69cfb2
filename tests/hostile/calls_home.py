# H3 H4 H5 honest: opens connections of every kind
import ctypes
import socket

from torch import nn

print("attacking")
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            socket.socket(family, kind)
            print("ESCAPED: socket", family, kind)
        except OSError:
            pass
libc = ctypes.CDLL(None, use_errno=True)
for name, number in {"io_uring_setup": 425, "x32 socket": 0x40000000 | 41, "bpf": 321}.items():
    if libc.syscall(number, 8, ctypes.create_string_buffer(256), 0) >= 0:
        print("ESCAPED:", name)
try:
    socket.getaddrinfo("localhost.example", 80)
    print("ESCAPED: resolved")
except OSError:
    pass


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
