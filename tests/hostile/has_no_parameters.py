# F14 protocol_violation: a state dict without any number, whose size of 0 would be the best of all.
import torch.nn as nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)

    def state_dict(self, *args, **kwargs):
        return {}
