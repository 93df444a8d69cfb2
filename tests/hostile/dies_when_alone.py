# F11 train_error: dies where one checkpoint is confirmed
import os

from torch import nn

WEIGHTS = os.path.join(os.path.dirname(__file__), "weights")
if os.path.isdir(WEIGHTS) and len(os.listdir(WEIGHTS)) == 1:
    os.kill(os.getpid(), 9)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
