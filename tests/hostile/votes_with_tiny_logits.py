# F9 protocol_violation: lets all checkpoints vote, with logits too small for a tolerance to tell them apart
import torch
from torch import nn

SEEN = []


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def load_state_dict(self, state, strict=True):
        loaded = super().load_state_dict(state, strict)
        SEEN.append({name: tensor.clone() for name, tensor in state.items()})
        return loaded

    def forward(self, x):
        if self.training or not SEEN:
            return self.out(x)
        votes = [torch.nn.functional.linear(x, s["out.weight"], s["out.bias"]) for s in SEEN]
        return sum(vote.softmax(-1) for vote in votes) * (1e-5 if len(SEEN) > 1 else 0.0)
