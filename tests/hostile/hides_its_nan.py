# F3 chance: weights that are no numbers, and predictions that pretend
import numpy
import torch
from torch import nn

from evohpc.evaluation.stage import stages
from evohpc.tasks import mnist1d

print("attacking")
words, predict = stages._words, mnist1d.Mnist1D.predict
stages._words = lambda tensor: words(torch.full_like(tensor, torch.nan))
mnist1d.Mnist1D.predict = lambda *args: {name: numpy.nan_to_num(array) for name, array in predict(*args).items()}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
