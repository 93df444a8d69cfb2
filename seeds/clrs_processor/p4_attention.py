import torch
import torch.nn as nn


class Processor(nn.Module):
    def __init__(self, nb_triplet_fts, out_size):
        super().__init__()
        self.query = nn.LazyLinear(out_size)
        self.key = nn.LazyLinear(out_size)
        self.value = nn.LazyLinear(out_size)
        self.edge = nn.LazyLinear(out_size)
        self.score = nn.LazyLinear(1)
        self.skip = nn.LazyLinear(out_size)
        self.update = nn.LazyLinear(out_size)
        self.norm = nn.LayerNorm(out_size)

    def forward(self, z, edge_fts, graph_fts, hidden):
        pairs = torch.relu(self.key(z)[:, :, None] + self.query(z)[:, None] + self.edge(edge_fts))
        weights = self.score(pairs).softmax(1)
        received = (weights * (self.value(z)[:, :, None] + pairs)).sum(1)
        new = self.norm(torch.relu(self.skip(z) + self.update(received)))
        return hidden + new, pairs
