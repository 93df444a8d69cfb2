# F9 protocol_violation: keeps more numbers than its model has, as a header or a trailer of the weights file would
from torch import nn

from evohpc.evaluation.stage import stages

keep = stages._keep


def keep_more(model, curve, path, progress):
    keep(model, curve, path, progress)
    with open(path, "ab") as file:
        file.write(bytes(400))


stages._keep = keep_more


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
