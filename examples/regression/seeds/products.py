import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.left = nn.LazyLinear(hidden)
        self.right = nn.LazyLinear(hidden)
        self.out = nn.LazyLinear(1)

    def forward(self, x):
        return self.out(torch.cat([x, torch.sin(self.left(x)) * self.right(x)], dim=1))
