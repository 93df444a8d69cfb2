# Q1 honest: many more threads than are its own, all of them busy
import time

import torch
from torch import nn

print("attacking")
torch.set_num_threads(64)
until = time.monotonic() + 1
square = torch.randn(700, 700)
while time.monotonic() < until:
    square = torch.tanh(square @ square)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
