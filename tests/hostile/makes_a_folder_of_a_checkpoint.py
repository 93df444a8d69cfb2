# F13 protocol_violation: a folder among its checkpoints
from torch import nn

from evohpc.evaluation.stage import stages

keep = stages._keep


def keep_and_more(model, row, path, progress):
    keep(model, row, path, progress)
    (path.parent / "folder").mkdir(exist_ok=True)


stages._keep = keep_and_more


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
