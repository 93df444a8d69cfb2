# H2 H9 honest: prints its environment and its parent's
import contextlib
import os
from pathlib import Path

from torch import nn

print("attacking", dict(os.environ))
for name in ("/proc/self/environ", f"/proc/{os.getppid()}/environ", "/proc/1/environ", "CANARY"):
    with contextlib.suppress(OSError):
        print(Path(name).read_bytes())


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
