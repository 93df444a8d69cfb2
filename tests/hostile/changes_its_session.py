# H7 honest: leaves its session, its group and its user
import contextlib
import os

from torch import nn

print("attacking", flush=True)
for call in (
    lambda: os.setpgid(0, os.getppid()),
    lambda: os.tcsetpgrp(0, 1),
    lambda: os.setgroups([0]),
    lambda: os.setresuid(1234, 1234, 1234),
    lambda: os.chroot("."),
):
    with contextlib.suppress(OSError):
        call()
        print("ESCAPED: it was allowed", flush=True)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
