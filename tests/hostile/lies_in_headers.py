# F14 protocol_violation: a header that claims to be the rest of the world
from torch import nn

from evohpc.evaluation.stage import stages

print("attacking")


def save_file(arrays, path):
    with open(path, "wb") as file:
        file.write((2**63 - 1).to_bytes(8, "little"))
        file.truncate(8 << 20)


stages.save_file = save_file


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
