# Q3 out_of_memory: page tables, a page of them for each two megabytes that are looked at
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
PROT_READ, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE, NO_HUGE_PAGES = 1, 0x02, 0x20, 0x4000, 15

size = 1 << 42
start = libc.mmap(None, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
libc.madvise(start, size, NO_HUGE_PAGES)
for offset in range(0, size, 2 << 20):
    ctypes.c_ubyte.from_address(start + offset).value  # noqa: B018
