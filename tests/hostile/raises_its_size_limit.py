# F9 protocol_violation: finds its order in memory and allows itself a larger model
import gc

import torch
from torch import nn

from evohpc.evaluation.stage import stages
from evohpc.evaluation.stage.protocol import Order

print("attacking")
for thing in gc.get_objects():
    if isinstance(thing, Order):
        object.__setattr__(thing, "max_params", 10**9)
stages._check_size = lambda model, limit: None


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out, self.big = nn.LazyLinear(10), nn.Parameter(torch.zeros(1_000_001))

    def forward(self, x):
        return self.out(x) + self.big[0]
