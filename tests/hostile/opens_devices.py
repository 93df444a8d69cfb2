# H8 honest: opens terminals, memory and other devices
import contextlib
import glob
import os

from torch import nn

print("attacking", flush=True)
ALLOWED = {"/dev/null", "/dev/random", "/dev/urandom"}
OTHERS = ("/dev/tty", "/dev/mem", "/dev/ptmx", "/dev/fuse", "/dev/zero", "/dev/kmsg", "/dev/shm/x")
for path in (*glob.glob("/dev/*"), *glob.glob("/dev/pts/*"), *OTHERS):
    for mode in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY):
        with contextlib.suppress(OSError):
            os.close(os.open(path, mode | os.O_NONBLOCK | os.O_NOCTTY))
            if path not in ALLOWED and not path.startswith(("/dev/nvidia", "/dev/dri", "/dev/kfd")):
                print("ESCAPED: opened", path, flush=True)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
