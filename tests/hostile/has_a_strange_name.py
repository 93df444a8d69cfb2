# Q honest: a process name that a careless reader of /proc stumbles over
import ctypes

from torch import nn

print("attacking")
ctypes.CDLL(None).prctl(15, b") 0 Z \xff\x0c\x1b[2J(\n", 0, 0, 0)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
