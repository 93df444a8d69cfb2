# F14 protocol_violation: predictions that are nothing but names, a thousand arrays without numbers in each
import json

from torch import nn

from evohpc.evaluation.stage import stages

print("attacking")
ENTRIES = {f"{number:x}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for number in range(20_000)}
HEADER = json.dumps(ENTRIES, separators=(",", ":")).encode()


def save_file(arrays, path):
    path.write_bytes(len(HEADER).to_bytes(8, "little") + HEADER)


stages.save_file = save_file


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
