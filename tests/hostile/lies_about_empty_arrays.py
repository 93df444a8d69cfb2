# F14 protocol_violation: an empty array of a shape that numpy itself refuses
import json

from torch import nn

from evohpc.evaluation.stage import stages

print("attacking")


def save_file(arrays, path):
    header = json.dumps({"val": {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


stages.save_file = save_file


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
