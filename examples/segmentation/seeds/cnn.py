import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, channels=12, kernel=9):
        super().__init__()
        self.first = nn.Conv1d(1, channels, kernel, padding="same")
        self.second = nn.Conv1d(channels, channels, kernel, padding="same")
        self.out = nn.Conv1d(channels, 1, 1)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = F.relu(self.second(x))
        return self.out(x).squeeze(1)
