import torch.nn as nn


class Triplets(nn.Module):
    def __init__(self, nb_triplet_fts, out_size):
        super().__init__()
        self.node_1 = nn.LazyLinear(nb_triplet_fts)
        self.node_2 = nn.LazyLinear(nb_triplet_fts)
        self.node_3 = nn.LazyLinear(nb_triplet_fts)
        self.node_4 = nn.LazyLinear(nb_triplet_fts)

    def forward(self, z, edge_fts, graph_fts):
        triplets = (
            self.node_1(z)[:, None, None, :]
            + self.node_2(z)[:, None, :, None]
            + self.node_3(z)[:, :, None, None]
            + self.node_4(z)[:, None, :, None]
        )
        return triplets.amax(1) - triplets.amin(1)
