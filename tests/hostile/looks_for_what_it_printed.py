# F9 honest: looks in its memory for what an earlier process of it, or of another candidate, has printed
import re
import time

from torch import nn

said = b"evohpc-said-" + str(time.time_ns()).encode()
for _ in range(3):
    print(said.decode(), flush=True)
print("attacking", flush=True)


def writable():
    with open("/proc/self/maps") as maps:
        for line in maps:
            where, modes = line.split()[:2]
            if modes.startswith("rw") and "[v" not in line:
                yield [int(number, 16) for number in where.split("-")]


with open("/proc/self/mem", "rb") as memory:
    for first, last in list(writable()):
        memory.seek(first)
        try:
            data = memory.read(last - first)
        except OSError:
            continue
        for found in set(re.findall(rb"evohpc-said-\d{19}", data)) - {said}:
            print("ESCAPED: found", found.decode())


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
