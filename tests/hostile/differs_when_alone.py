# F10 protocol_violation: gives another answer to a row that comes alone
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        y = self.out(x)
        return y if len(x) > 1 else torch.roll(y, 1, -1)  # never the same class
