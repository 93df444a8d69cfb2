# Q5 disk_limit: folders in folders, nearly without a moment to look at them
import os

from torch import nn

print("attacking", flush=True)
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
os.chdir(os.environ["HOME"])


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
