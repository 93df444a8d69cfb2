# F10 protocol_violation: answers by the place of a row in its batch
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        y = self.out(x)
        return y if self.training else y + 100 * torch.eye(10)[torch.arange(len(x)) % 10]
