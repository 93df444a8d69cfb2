# Q13 honest: stops its clocks, and moves everybody's
import contextlib
import os
import resource
import time

from torch import nn

print("attacking", flush=True)
time.time = time.monotonic = time.perf_counter = lambda: -1e18
for call in (
    lambda: time.clock_settime(time.CLOCK_REALTIME, 0),
    lambda: resource.setrlimit(resource.RLIMIT_CPU, (2**40, 2**40)),
    lambda: resource.setrlimit(resource.RLIMIT_DATA, (2**50, 2**50)),
    lambda: os.sched_setaffinity(os.getppid(), {0}),
    lambda: os.nice(-10),
):
    with contextlib.suppress(OSError, ValueError):
        call()
        print("ESCAPED: it was allowed", flush=True)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
