import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.dense = nn.LazyLinear(hidden)
        self.out = nn.LazyLinear(2)

    def forward(self, x):
        radius = x.norm(dim=1, keepdim=True)
        x = torch.cat([x, torch.sin(6 * radius), torch.cos(6 * radius)], dim=1)
        return self.out(torch.tanh(self.dense(x)))
