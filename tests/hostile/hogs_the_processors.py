# Q1 honest: many more threads than are its own, all of them busy
import time

import torch
from torch import nn

print("attacking")
own = torch.get_num_threads()
torch.set_num_threads(64)
until = time.monotonic() + 1
square = torch.randn(700, 700, generator=torch.Generator())
while time.monotonic() < until:
    square = torch.tanh(square @ square)
torch.set_num_threads(own)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
