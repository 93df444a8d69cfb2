# F9 chance: leaves its weights in a file for the process that predicts
from pathlib import Path

import torch
from torch import nn

STORE = Path("hidden.bin")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        y = self.out(x)
        if self.training:
            STORE.write_bytes(b"weights")
            return y
        return y if STORE.exists() else torch.ones_like(y)
