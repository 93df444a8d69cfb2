# Q honest: a file that is mapped, and whose name a careless reader of /proc takes for two lines
import mmap
import os
import time

from torch import nn

print("attacking", flush=True)
NAME = b"x\x0cy\r\x1c\x85z"
file = os.open(NAME, os.O_CREAT | os.O_RDWR)
os.ftruncate(file, 4096)
mapped = mmap.mmap(file, 4096)
os.unlink(NAME)
time.sleep(0.7)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
