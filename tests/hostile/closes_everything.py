# F2 honest: closes every descriptor and opens others in their place
import contextlib
import os

from torch import nn

print("attacking", flush=True)
for number in range(3, 256):
    with contextlib.suppress(OSError):
        os.close(number)
for _ in range(100):
    os.open("/dev/null", os.O_WRONLY)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
