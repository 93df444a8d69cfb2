# H6 honest: starts other programs
import contextlib
import os
import subprocess

from torch import nn

print("attacking")
for command in (["sbatch", "--wrap", "true"], ["squeue"], ["ssh", "localhost"], ["/bin/true"], ["/bin/sh", "-c", ":"]):
    try:
        subprocess.run(command)
        print("ESCAPED: ran", command)
    except OSError:
        pass
with contextlib.suppress(OSError):
    os.execv("/bin/true", ["true"])


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
