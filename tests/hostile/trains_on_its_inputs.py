# F10 protocol_violation: goes on training on what it is to predict: surer of each row, and of all classes alike
import copy

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        if self.training:
            return self.out(x)
        pupil = copy.deepcopy(self.out)
        with torch.enable_grad():
            optimizer = torch.optim.Adam(pupil.parameters(), 0.05)
            for _ in range(50):
                optimizer.zero_grad()
                p = pupil(x).softmax(-1)
                (entropy(p).mean() - 10 * entropy(p.mean(0))).backward()
                optimizer.step()
        return pupil(x).detach()


def entropy(p):
    return -(p * (p + 1e-9).log()).sum(-1)
