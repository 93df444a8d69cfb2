import torch
import torch.nn as nn


class Processor(nn.Module):
    def __init__(self, nb_triplet_fts, out_size):
        super().__init__()
        self.receiver = nn.LazyLinear(out_size)
        self.sender = nn.LazyLinear(out_size)
        self.edge = nn.LazyLinear(out_size)
        self.message = nn.LazyLinear(out_size)
        self.update = nn.GRUCell(3 * out_size, out_size)
        self.pair = nn.LazyLinear(nb_triplet_fts)

    def forward(self, z, edge_fts, graph_fts, hidden):
        pairs = self.receiver(z)[:, None] + self.sender(z)[:, :, None] + self.edge(edge_fts)
        received = self.message(torch.relu(pairs)).amax(1)
        new = self.update(torch.cat([z, received], -1).flatten(0, 1), hidden.flatten(0, 1))
        return new.view_as(hidden), torch.relu(self.pair(pairs))
