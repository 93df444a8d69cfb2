# Q6 honest: escape sequences in its report, where metrics have names
from torch import nn

from evohpc.evaluation.stage import main

print("attacking \x1b[2J\x1b]0;title\x07 \u202e reversed")
Report = main.Report


def report(status, detail, seconds, row):
    return Report(status, "\x1b[2J", seconds, {"\x1b[31mloss\n\u202e": 1.0, "[bold red]x[/]": 2.0, **row})


main.Report = report


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
