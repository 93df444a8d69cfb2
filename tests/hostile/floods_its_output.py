# Q6 honest: prints a hundred megabytes, escape sequences and broken UTF-8
import os

from torch import nn

for _ in range(100):
    os.write(1, b"\x1b[31mred\xff\n" * 100_000)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
