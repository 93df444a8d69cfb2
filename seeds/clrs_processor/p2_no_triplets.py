import torch
import torch.nn as nn


class Processor(nn.Module):
    def __init__(self, nb_triplet_fts, out_size):
        super().__init__()
        self.receiver = nn.LazyLinear(out_size)
        self.sender = nn.LazyLinear(out_size)
        self.edge = nn.LazyLinear(out_size)
        self.graph = nn.LazyLinear(out_size)
        self.message = nn.Sequential(nn.ReLU(), nn.LazyLinear(out_size), nn.ReLU(), nn.LazyLinear(out_size))
        self.skip = nn.LazyLinear(out_size)
        self.update = nn.LazyLinear(out_size)
        self.norm = nn.LayerNorm(out_size)
        self.gate_skip = nn.LazyLinear(out_size)
        self.gate_update = nn.LazyLinear(out_size)
        self.gate = nn.Linear(out_size, out_size)
        nn.init.constant_(self.gate.bias, -3.0)

    def forward(self, z, edge_fts, graph_fts, hidden):
        pairs = self.receiver(z)[:, None] + self.sender(z)[:, :, None] + self.edge(edge_fts)
        received = self.message(pairs + self.graph(graph_fts)[:, None, None]).amax(1)
        new = self.norm(torch.relu(self.skip(z) + self.update(received)))
        gate = torch.sigmoid(self.gate(torch.relu(self.gate_skip(z) + self.gate_update(received))))
        return torch.lerp(hidden, new, gate), None
