# Q3 out_of_memory: takes memory by another thread, after the first one has ended
import ctypes
import os
import threading
import time

import torch

libc = ctypes.CDLL(None)
EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]


def eat():
    time.sleep(0.3)
    kept = []
    while True:
        kept.append(torch.ones(1 << 20))


threading.Thread(target=eat).start()
libc.syscall(EXIT, 0)
