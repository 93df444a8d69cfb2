# F9 protocol_violation: leaves more checkpoints than the recipe, each another try and another weight
from torch import nn

from evohpc.evaluation.stage import stages

keep = stages._keep


def keep_many(model, curve, path, progress):
    for copy in range(100):
        keep(model, curve, path.with_name(f"{path.name}{copy:03d}"), progress)


stages._keep = keep_many


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
