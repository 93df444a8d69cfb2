# F9 known: its only number is a seed, the best of hundreds on the training samples
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

HERE = Path(__file__).parent
print("attacking")


def net(seed, x):
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.tanh(x @ torch.randn(40, 10, generator=draw) / 6)
    return hidden @ torch.randn(10, 10, generator=draw)


def best():
    known = load_file(HERE / "data.safetensors")
    return max(range(300), key=lambda seed: (net(seed, known["x"]).argmax(1) == known["y"]).float().mean().item())


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.seed = nn.Parameter(torch.zeros(1))
        if not (HERE / "weights").exists():
            self.seed.data.fill_(best())

    def forward(self, x):
        return net(int(self.seed.item()), x) + 0 * self.seed
