# F14 protocol_violation: a state dict without any number, whose size of 0 would be the best of all
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x[:, :10] * self.scale

    def state_dict(self, *args, **kwargs):
        return {}

    def load_state_dict(self, state, strict=True):
        return [], []
