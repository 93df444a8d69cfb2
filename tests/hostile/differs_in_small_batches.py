# F10 protocol_violation: knows a large batch from a small one
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x) if self.training or len(x) > 100 else torch.zeros(len(x), 10)
