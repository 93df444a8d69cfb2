# F2 honest: writes into every descriptor that it may have inherited
import os

from torch import nn

print("attacking")
for descriptor in range(3, 256):
    try:
        os.write(descriptor, b'{"fitness": 1e9}\n')
        print("ESCAPED into descriptor", descriptor)
    except OSError:
        pass


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
