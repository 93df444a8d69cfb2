import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, channels=8, kernel=9):
        super().__init__()
        self.first = nn.LazyConv1d(channels, kernel, padding="same")
        self.out = nn.LazyConv1d(1, kernel, padding="same")

    def forward(self, x):
        x = x - x.mean(dim=2, keepdim=True)
        x = torch.cat([x, x.cumsum(dim=2) / 16], dim=1)
        return self.out(F.relu(self.first(x))).squeeze(1)
