# Q5 disk_limit: files that have a mapping alone, and names that a careless reader of /proc takes for two lines
import ctypes
import os
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]

NAME = b"0\x0ca b c 00:00 5 z"
print("attacking", flush=True)
for _ in range(20):
    file = os.open(NAME, os.O_CREAT | os.O_RDWR)
    os.write(file, bytes(4 << 20))
    libc.mmap(None, 4096, 1, 1, file, 0)
    os.unlink(NAME)
    os.close(file)
time.sleep(600)
