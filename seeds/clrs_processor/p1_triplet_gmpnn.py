import torch
import torch.nn as nn

from evohpc.tasks.clrs.triplets import reduce_triplets


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
        self.triplet_nodes = nn.ModuleList(nn.LazyLinear(nb_triplet_fts) for _ in range(3))
        self.triplet_edges = nn.ModuleList(nn.LazyLinear(nb_triplet_fts) for _ in range(3))
        self.triplet_graph = nn.LazyLinear(nb_triplet_fts)
        self.output = nn.LazyLinear(out_size)

    def forward(self, z, edge_fts, graph_fts, hidden):
        nodes = [layer(z) for layer in self.triplet_nodes]
        edges = [layer(edge_fts) for layer in self.triplet_edges]
        triplets = self.output(reduce_triplets(nodes, edges, self.triplet_graph(graph_fts), "max"))
        pairs = self.receiver(z)[:, None] + self.sender(z)[:, :, None] + self.edge(edge_fts)
        received = self.message(pairs + self.graph(graph_fts)[:, None, None]).amax(1)
        new = self.norm(torch.relu(self.skip(z) + self.update(received)))
        gate = torch.sigmoid(self.gate(torch.relu(self.gate_skip(z) + self.gate_update(received))))
        return torch.lerp(hidden, new, gate), torch.relu(triplets)
