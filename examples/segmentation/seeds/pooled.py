import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, channels=8):
        super().__init__()
        self.first = nn.LazyConv1d(channels, 9, padding=4)
        self.out = nn.LazyConv1d(1, 5, padding=2)

    def forward(self, x):
        x = x - x.mean(dim=2, keepdim=True)
        smooth = F.avg_pool1d(x, 9, stride=1, padding=4)
        return self.out(F.relu(self.first(torch.cat([x, smooth], dim=1)))).squeeze(1)
