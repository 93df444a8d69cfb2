# Q3 build_error: shared pages again, by the device that gives them
import mmap

print("attacking", flush=True)
with open("/dev/zero", "r+b") as zero:
    print("ESCAPED: opened it", flush=True)
    piece = mmap.mmap(zero.fileno(), 64 << 20)
