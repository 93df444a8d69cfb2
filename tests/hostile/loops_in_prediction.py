# Q1 timeout: predicts for ever
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        while not self.training:
            pass
        return self.out(x)
