# Q5 disk_limit: large files in folders whose path is longer than the kernel takes
import os
import time

from torch import nn

print("attacking", flush=True)
for _ in range(20):
    os.mkdir("d" * 250)
    os.chdir("d" * 250)
for number in range(20):
    with open(f"f{number}", "wb") as file:
        file.write(b"x" * (4 << 20))
time.sleep(600)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)
