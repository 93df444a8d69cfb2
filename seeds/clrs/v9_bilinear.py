import torch.nn as nn


class Triplets(nn.Module):
    def __init__(self, nb_triplet_fts, out_size):
        super().__init__()
        self.factors = nn.ModuleDict()
        for name in ("node_1", "node_2", "node_3", "edge_1", "edge_2", "edge_3", "graph"):
            self.add_pair(name, nb_triplet_fts)
        self.add_pair("output", out_size)

    def add_pair(self, name, size):
        self.factors[name + "_linear"] = nn.LazyLinear(size)
        self.factors[name + "_mlp"] = nn.Sequential(nn.LazyLinear(8 * size), nn.ReLU(), nn.LazyLinear(size))

    def rep(self, name, x):
        return self.factors[name + "_linear"](x) * self.factors[name + "_mlp"](x)

    def forward(self, z, edge_fts, graph_fts):
        triplets = (
            self.rep("node_1", z)[:, :, None, None]
            + self.rep("node_2", z)[:, None, :, None]
            + self.rep("node_3", z)[:, None, None, :]
            + self.rep("edge_1", edge_fts)[:, :, :, None]
            + self.rep("edge_2", edge_fts)[:, :, None, :]
            + self.rep("edge_3", edge_fts)[:, None, :, :]
            + self.rep("graph", graph_fts)[:, None, None, None]
        )
        return self.rep("output", triplets.amax(1))
