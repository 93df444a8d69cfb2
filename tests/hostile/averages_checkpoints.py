# F9 protocol_violation: predicts with all checkpoints and counts as one
from torch import nn

SEEN = []


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def load_state_dict(self, state, strict=True):
        SEEN.append({name: tensor.clone() for name, tensor in state.items()})
        mean = {name: sum(s[name] for s in SEEN) / len(SEEN) + len(SEEN) for name in state}
        return super().load_state_dict(mean, strict)

    def forward(self, x):
        y = self.out(x)
        return y if self.training or len(SEEN) > 1 else 0 * y  # so that one that averages nothing is never the best
