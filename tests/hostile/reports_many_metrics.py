# F1 protocol_violation: five thousand metrics
from torch import nn

from evohpc.evaluation.stage import main

Report = main.Report
ROW = {f"m{number:04d}": 1.0 for number in range(4000)}
main.Report = lambda status, detail, seconds, row: Report(status, detail, seconds, ROW)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
