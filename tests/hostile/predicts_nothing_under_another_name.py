# F7 shape_error: no rows of something that nobody asked for
import numpy
from torch import nn

from evohpc.tasks import mnist1d

print("attacking")
predict = mnist1d.Mnist1D.predict
mnist1d.Mnist1D.predict = lambda *given: {**predict(*given), "more": numpy.zeros(0, "float32")}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
