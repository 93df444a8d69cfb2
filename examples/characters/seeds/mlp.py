import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, characters=62, width=16, hidden=64):
        super().__init__()
        self.embed = nn.Embedding(characters, width)
        self.dense = nn.LazyLinear(hidden)
        self.out = nn.LazyLinear(characters)

    def forward(self, x):
        x = self.embed(x[:, -8:]).flatten(1)
        return self.out(F.relu(self.dense(x)))
