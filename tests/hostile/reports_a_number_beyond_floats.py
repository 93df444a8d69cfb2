# F4 protocol_violation: a loss that is a whole number, and as a float infinite: no result could be written with it
import os
from pathlib import Path

from torch import nn

from evohpc.evaluation.stage import main

print("attacking", flush=True)


def report(*arguments):
    Path("report.json").write_text('{"status": "ok", "last_row": {"loss": 1' + "0" * 400 + "}}")
    os._exit(0)


main.Report = report


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
