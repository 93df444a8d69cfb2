# F14 protocol_violation: a prediction whose name is two megabytes long
import numpy
from torch import nn

from evohpc.tasks import mnist1d

predict = mnist1d.Mnist1D.predict
mnist1d.Mnist1D.predict = lambda *args: {**predict(*args), "k" * (2 << 20): numpy.zeros(1)}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
