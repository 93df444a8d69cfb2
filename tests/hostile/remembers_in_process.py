# F9 chance: keeps what it learned outside of its state dict
import torch
from torch import nn

MEANS = {}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)
        MEANS.setdefault("w", torch.zeros(40, 10))

    def forward(self, x):
        if not self.training and "trained" not in MEANS:
            return self.out(x) * 0 + x @ MEANS["w"]
        MEANS["trained"] = True
        MEANS["w"] = MEANS["w"] * 0.9
        return self.out(x)
