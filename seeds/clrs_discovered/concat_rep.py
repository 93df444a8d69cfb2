import torch
import torch.nn as nn


class Triplets(nn.Module):
    def __init__(self, nb_triplet_fts, out_size):
        super().__init__()
        self.parts = nn.ModuleDict()
        for name in ("node_1", "node_2", "node_3", "edge_1", "edge_2", "edge_3", "graph"):
            self.parts[name + "_linear"] = nn.LazyLinear(nb_triplet_fts)
            self.parts[name + "_mlp"] = nn.Sequential(
                nn.LazyLinear(4 * nb_triplet_fts), nn.ReLU(), nn.LazyLinear(nb_triplet_fts)
            )
        self.output = nn.LazyLinear(out_size)

    def rep(self, name, x):
        return torch.cat([self.parts[name + "_linear"](x), self.parts[name + "_mlp"](x)], -1)

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
        return self.output(triplets.amax(1))
