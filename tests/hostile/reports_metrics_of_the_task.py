# F1 honest: metrics that have the names of what is measured
from torch import nn

from evohpc.evaluation.stage import main

print("attacking")
Report = main.Report
FALSE = {"val_accuracy": 1.0, "test_accuracy": 1.0, "error": 0.0, "fitness": 1e9, "": 1.0}
SECONDS = {"train": 1e300, "check": -5.0, "predict": 1e-300, "total": 9.0}
main.Report = lambda status, detail, seconds, row: Report(status, detail, SECONDS, FALSE)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
