# Q1 timeout: trains for ever
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        while self.calls > 3:
            pass
        return self.out(x)
