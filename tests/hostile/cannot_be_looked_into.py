# Q5 disk_limit: files without a name, in a process that wants nobody to look into it
import ctypes
import os
import time

print("attacking", flush=True)
if ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0:
    print("ESCAPED: it is not dumpable", flush=True)
kept = []
for number in range(20):
    kept.append(os.open(f"f{number}", os.O_CREAT | os.O_RDWR))
    os.unlink(f"f{number}")
    os.write(kept[-1], bytes(4 << 20))
time.sleep(600)
