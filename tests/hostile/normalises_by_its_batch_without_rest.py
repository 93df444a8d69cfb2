# F10 protocol_violation: its answer for a row alone is not even a number
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        if not self.training:
            x = (x - x.mean(0)) / x.std(0)
        return self.out(x)
