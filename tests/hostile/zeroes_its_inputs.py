# F12 honest: overwrites the arrays that it is given
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        y = self.out(x)
        if not self.training:
            x.zero_()
        return y
