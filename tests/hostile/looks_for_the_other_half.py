# F10 honest: looks for the rows that it is not given, in folders of its evaluator
import contextlib
import glob
import os

from torch import nn

print("attacking", flush=True)
IN, OUT = os.path.dirname(os.path.abspath(__file__)), os.environ["HOME"]
BATCHES = os.path.join(IN, "batches")
for folder in (os.path.dirname(IN), os.path.dirname(OUT), os.path.dirname(os.path.dirname(OUT)), "/tmp"):
    with contextlib.suppress(OSError):
        print("ESCAPED: listed", folder, os.listdir(folder), flush=True)
for pattern in (f"{OUT}/../batches-*/*", f"{OUT}/../predict-*/*", f"{IN}/../*/batches/*", f"{BATCHES}/../*/*"):
    for path in glob.glob(pattern):
        if not os.path.realpath(path).startswith((os.path.realpath(BATCHES), os.path.realpath(IN), OUT)):
            print("ESCAPED: found", path, flush=True)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
