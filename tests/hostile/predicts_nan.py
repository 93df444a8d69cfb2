# F3 nonfinite: NaN makes every comparison false
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        y = self.out(x)
        return y if self.training else y * float("nan")
