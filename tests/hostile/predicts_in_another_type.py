# F7 shape_error: predictions in twice as many bits
import numpy
from torch import nn

from evohpc.tasks import mnist1d

predict = mnist1d.Mnist1D.predict
mnist1d.Mnist1D.predict = lambda *args: {name: array.astype(numpy.float64) for name, array in predict(*args).items()}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
