# F7 shape_error: answers to another question
from torch import nn

from evohpc.tasks import mnist1d

predict = mnist1d.Mnist1D.predict
mnist1d.Mnist1D.predict = lambda *args: {f"not_{name}": array for name, array in predict(*args).items()}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
