import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, hidden=100):
        super().__init__()
        self.dense1 = nn.LazyLinear(hidden)
        self.dense2 = nn.LazyLinear(hidden)
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        x = F.relu(self.dense1(x))
        x = x + F.relu(self.dense2(x))
        return self.out(x)
