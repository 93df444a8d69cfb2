# F13 protocol_violation: a checkpoint whose name clears the screen
from torch import nn

from evohpc.evaluation.stage import stages

print("attacking")
keep = stages._keep


def keep_two(model, row, path, progress):
    keep(model, row, path, progress)
    (path.parent / "\x1b[2J\n\u202eevil").write_bytes(b"1234")


stages._keep = keep_two


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
