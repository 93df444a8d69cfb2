# Q2 H6 honest: starts other programs in every way that Python knows
import contextlib
import os
import subprocess

from torch import nn

print("attacking", flush=True)


def fork():
    if os.fork() == 0:
        os._exit(0)


def ask_a_shell():
    if os.system("true") != 0:
        raise OSError


for call in (
    fork,
    ask_a_shell,
    lambda: os.posix_spawn("/bin/true", ["true"], {}),
    lambda: subprocess.run(["/bin/true"], check=True),
    lambda: os.execv("/bin/true", ["true"]),
    lambda: os.forkpty(),
):
    for _ in range(20):
        with contextlib.suppress(OSError):
            call()
            print("ESCAPED: has a child", flush=True)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
