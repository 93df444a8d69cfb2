# F13 honest: leaves links, FIFOs and sockets to trip over
import os

from torch import nn

print("attacking")
for plant in (
    lambda: os.symlink("LABELS", "link"),
    lambda: os.link("LABELS", "hard"),
    lambda: os.mkfifo("fifo"),
    lambda: os.mknod("device", 0o600 | 0o20000, os.makedev(1, 5)),
    lambda: os.symlink("/etc", "weights"),
    lambda: open("../escaped", "w"),  # noqa: SIM115
    lambda: open("../order.json", "w"),  # noqa: SIM115
):
    try:
        plant()
        print("ESCAPED: planted")
    except OSError:
        pass


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
