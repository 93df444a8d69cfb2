import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, features=25):
        super().__init__()
        self.conv1 = nn.LazyConv1d(features, 5, stride=2, padding=1)
        self.conv2 = nn.LazyConv1d(features, 3, stride=2, padding=1)
        self.conv3 = nn.LazyConv1d(features, 3, stride=2, padding=1)
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        x = x.unsqueeze(1)
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.relu(self.conv3(x))
        return self.out(x.flatten(1))
