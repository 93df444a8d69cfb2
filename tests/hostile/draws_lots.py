# F11 chance: another prediction at every try
import time

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        if self.training:
            return self.out(x)
        torch.manual_seed(time.time_ns())
        return self.out(x) + 100 * torch.randn(len(x), 10)
