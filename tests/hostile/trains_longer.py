# F known: trains with more steps than the recipe has, as long as its time lasts
from torch import nn

from evohpc.tasks import mnist1d

print("attacking")
train = mnist1d.Mnist1D.train


def longer(self, model, data, seed):
    object.__setattr__(self, "steps", 200)
    object.__setattr__(self, "eval_every", 100)
    return train(self, model, data, seed)


mnist1d.Mnist1D.train = longer


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
