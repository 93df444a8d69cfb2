# F10 protocol_violation: goes on training on what it is to predict, by its own guesses
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
            guesses = pupil(x).argmax(-1)
            optimizer = torch.optim.Adam(pupil.parameters(), 0.05)
            for _ in range(50):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(pupil(x), guesses).backward()
                optimizer.step()
        return pupil(x).detach()
