# F10 protocol_violation: keeps the rows that it was given before
import torch
from torch import nn

SEEN = []


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        if self.training:
            return self.out(x)
        SEEN.append(x)
        rows = torch.cat(SEEN)
        return self.out(x - 10 * rows.mean(0))  # by far, so that it shows whichever rows these are
