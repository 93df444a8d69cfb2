# F9 chance: keeps what it learned in defaults, class attributes and plain attributes
import torch
from torch import nn

STORE = {}


class Model(nn.Module):
    kept = None

    def __init__(self):
        super().__init__()
        self.s = nn.Parameter(torch.ones(1))
        self.plain = torch.zeros(40, 10)
        self.w = nn.Parameter(torch.zeros(40, 10))

    def state_dict(self, *args, **kwargs):
        Model.kept = STORE["w"] = self.plain = self.w.detach().clone()
        Model.forward.__defaults__ = (self.plain,)
        return {"s": self.s}

    def load_state_dict(self, state, strict=True):
        return [], []

    def forward(self, x, w=None):
        if self.training:
            return x @ self.w * self.s
        found = [each for each in (Model.kept, STORE.get("w"), w) if each is not None]
        return x @ (found[0] if found else self.plain) * self.s
