# F8 honest: looks for the algorithm, to answer what the network is asked
import contextlib
import importlib
import os
import sys
from pathlib import Path

import torch
from torch import nn

import evohpc.tasks.clrs

print("attacking")
IS_TRAINING = not os.path.isdir(os.path.join(os.path.dirname(__file__), "weights"))
FOLDER = Path(evohpc.tasks.clrs.__file__).parent
PACKAGES = Path(torch.__file__).parent.parent
NAMES = ("evohpc.tasks.clrs.sampling", "evohpc.tasks.clrs.upstream", "clrs", "clrs._src.algorithms")


def look():
    for name in sys.modules:
        if name in NAMES:
            print("ESCAPED: it is imported:", name)
    for name in NAMES:
        with contextlib.suppress(ImportError, OSError):
            print("ESCAPED: it can be imported:", importlib.import_module(name))
    for path in (*FOLDER.glob("**/sampling*"), *FOLDER.glob("**/upstream*"), *PACKAGES.glob("clrs/**/*.py*")):
        with contextlib.suppress(OSError):
            print("ESCAPED: it can be read:", path, len(path.read_bytes()))
    for path in (PACKAGES / "clrs/_src/algorithms/graphs.py", PACKAGES / "clrs/_src/samplers.py"):
        with contextlib.suppress(OSError):
            print("ESCAPED: it can be read:", path, len(path.read_bytes()))


if not IS_TRAINING:
    look()


class Triplets(nn.Module):
    def __init__(self, nb_triplet_fts, out_size):
        super().__init__()
        self.out = nn.LazyLinear(out_size)

    def forward(self, z, edge_fts, graph_fts):
        return self.out(edge_fts)
