import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, characters=62, width=24, hidden=48):
        super().__init__()
        self.embed = nn.Embedding(characters, width)
        self.mix = nn.LazyConv1d(hidden, 3, stride=2)
        self.out = nn.LazyLinear(characters)

    def forward(self, x):
        x = self.embed(x[:, -7:]).transpose(1, 2)
        return self.out(F.relu(self.mix(x)).flatten(1))
