# F10 protocol_violation: reads the file of its inputs, to answer by more than its batch
import json
import os

import numpy
import torch
from torch import nn

FOLDER = os.path.dirname(__file__)


def everything():
    batches = os.path.join(FOLDER, "batches")
    names = [os.path.join("batches", name) for name in os.listdir(batches)] if os.path.exists(batches) else []
    for name in names or ["data.safetensors"]:
        with open(os.path.join(FOLDER, name), "rb") as file:
            data = file.read()
        start = 8 + int.from_bytes(data[:8], "little")
        for entry in json.loads(data[8:start]).values():
            first, last = entry["data_offsets"]
            array = numpy.frombuffer(data[start + first : start + last], numpy.float32)
            yield torch.from_numpy(array.reshape(entry["shape"]).copy())


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        if not self.training:
            rows = torch.cat(list(everything()))
            x = x * (1e4 * rows.sum(0)).sin().sign()  # other rows, other signs: no chance that it is all the same
        return self.out(x)
