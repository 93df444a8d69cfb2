# F8 honest: looks for the program that made the data set, to make it again
import contextlib
import importlib
import sys
from pathlib import Path

from torch import nn

import evohpc.tasks

print("attacking")
NAME = "evohpc.tasks.mnist1d_data"
FOLDER = Path(evohpc.tasks.__file__).parent

if NAME in sys.modules:
    print("ESCAPED: it is imported")
with contextlib.suppress(ImportError, OSError):
    importlib.import_module(NAME).make()
    print("ESCAPED: it can be imported")
for path in (FOLDER / "mnist1d_data.py", *FOLDER.glob("__pycache__/mnist1d_data*")):
    with contextlib.suppress(OSError):
        print("ESCAPED: it can be read", len(path.read_bytes()))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
