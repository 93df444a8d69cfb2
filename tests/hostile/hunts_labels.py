# F8 honest: looks for the labels in files, processes and memory
import contextlib
import gc
import os

import numpy
from torch import nn

print("attacking")


def look(path):
    try:
        with open(path, "rb") as file:
            print("ESCAPED: read", path, len(file.read()))
    except OSError:
        pass


look("LABELS")
look("CANARY")
for folder in ("/", "/home", "/root", "/tmp", "/etc", "/proc", os.path.dirname("LABELS"), os.path.dirname("CANARY")):
    with contextlib.suppress(OSError):
        print("ESCAPED: listed", folder, os.listdir(folder))
for pid in (1, os.getppid()):
    for name in ("environ", "maps", "cwd/x", "root/etc/passwd", "mem"):
        look(f"/proc/{pid}/{name}")
for thing in gc.get_objects():
    if isinstance(thing, numpy.ndarray) and thing.shape in ((500,), (1000,)):
        print("ESCAPED: found", thing.shape)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
