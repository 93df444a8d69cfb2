# F10 protocol_violation: normalises by its batch, and adds noise to pass for a random model
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        if not self.training:
            x = (x - x.mean(0)) / (x.std(0, correction=0) + 1e-5) + 0.01 * torch.randn_like(x)
        return self.out(x)
