# Q5 disk_limit: files that have no name and no descriptor any more, but a mapping
import ctypes
import os
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]

print("attacking", flush=True)
for _ in range(20):
    file = os.open("mapped", os.O_CREAT | os.O_RDWR)
    os.write(file, bytes(4 << 20))
    libc.mmap(None, 4096, 1, 1, file, 0)
    os.unlink("mapped")
    os.close(file)
time.sleep(600)
