# Q5 disk_limit: large files in a folder that cannot be listed
import os
import time

from torch import nn

print("attacking", flush=True)
os.umask(0)
os.mkdir("x", 0o300)
for number in range(20):
    with open(f"x/f{number}", "wb") as file:
        file.write(b"x" * (4 << 20))
time.sleep(600)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)
