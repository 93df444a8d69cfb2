# H4 H8 honest: calls the kernel by number, past every library
import ctypes
import os

from torch import nn

print("attacking")
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
room = ctypes.create_string_buffer(4096)
own = os.open(__file__, os.O_RDONLY)
mapped = ctypes.c_void_p(libc.mmap(None, 4096, 1, 2, own, 0))
all_cores = ctypes.create_string_buffer(b"\xff" * 128)
CALLS = {
    "io_uring_setup": (425, 8, room),
    "userfaultfd": (323, 0),
    "bpf": (321, 0, room, 120),
    "memfd_create": (319, b"x", 0),
    "memfd_secret": (447, 0),
    "execve": (59, b"/bin/sh", None, None),
    "execveat": (322, -100, b"/bin/sh", None, None, 0),
    "vfork": (58,),
    "clone": (56, 17, 0, 0, 0, 0),
    "clone with files of its own": (56, 0x00010900, 0, 0, 0, 0),
    "clone3": (435, room, 88),
    "unshare": (272, 0x10000000),
    "socket": (41, 1, 1, 0),
    "socketpair": (53, 1, 1, 0, room),
    "perf_event_open": (298, room, 0, -1, -1, 0),
    "keyctl": (250, 0, -3, 0),
    "add_key": (248, b"user", b"x", b"y", 1, -3),
    "x32 getpid": (0x40000000 | 39,),
    "x32 socket": (0x40000000 | 41, 2, 1, 0),
    "kcmp": (312, 1, 1, 0, 0, 0),
    "pidfd_open": (434, os.getppid(), 0),
    "pidfd of itself": (434, os.getpid(), 0),
    "shmget": (29, 0, 4096, 0o1600),
    "mq_open": (240, b"/x", 0o102, 0o600, None),
    "syslog": (103, 10, 0, 0),
    "process_mrelease": (448, 1, 0),
    "open_tree": (428, -100, b".", 1),
    "fanotify_init": (300, 0, 0),
    "name_to_handle_at": (303, -100, b"/", room, room, 0),
    "ioprio_set": (251, 1, 0, 0),
    "close_range unshare": (436, 900, 901, 2),
    "lock a file": (72, 1, 6, room),
    "bind itself to a core": (203, 0, 128, all_cores),
    "fadvise64": (221, own, 0, 0, 4),
    "readahead": (187, own, 0, 4096),
    "mincore": (27, mapped, 4096, room),
    "cachestat": (451, own, ctypes.create_string_buffer(16), room, 0),
    "preadv2": (327, own, room, 0, 0, 0, 8),
    "pwritev2": (328, 1, room, 0, -1, 0, 8),
    "madvise, out with it": (28, mapped, 4096, 21),
    "madvise, cold": (28, mapped, 4096, 20),
}
for name, call in CALLS.items() if os.uname().machine == "x86_64" else ():
    if libc.syscall(*call) >= 0:
        print("ESCAPED:", name, flush=True)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
