import torch.nn as nn


class Triplets(nn.Module):
    def __init__(self, nb_triplet_fts, out_size):
        super().__init__()
        self.node_1 = nn.LazyLinear(nb_triplet_fts)
        self.node_2 = nn.LazyLinear(nb_triplet_fts)
        self.node_3 = nn.LazyLinear(nb_triplet_fts)
        self.edge_1 = nn.LazyLinear(nb_triplet_fts)
        self.edge_2 = nn.LazyLinear(nb_triplet_fts)
        self.edge_3 = nn.LazyLinear(nb_triplet_fts)
        self.graph = nn.LazyLinear(nb_triplet_fts)
        self.output = nn.LazyLinear(out_size)

    def forward(self, z, edge_fts, graph_fts):
        triplets = (
            self.node_1(z)[:, :, None, None]
            + self.node_2(z)[:, None, :, None]
            + self.node_3(z)[:, None, None, :]
            + self.edge_1(edge_fts)[:, :, :, None]
            + self.edge_2(edge_fts)[:, :, None, :]
            + self.edge_3(edge_fts)[:, None, :, :]
            + self.graph(graph_fts)[:, None, None, None]
        )
        return self.output(triplets.sum(1))
