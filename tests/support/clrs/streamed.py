"""The standard triplet representation, v1, over `reduce_triplets`."""

from __future__ import annotations

from torch import Tensor, nn

from evohpc.tasks.clrs.triplets import Reduction, reduce_triplets


class Streamed(nn.Module):
    """Has the parameters of seeds/clrs/v1_standard.py under the same names."""

    def __init__(self, nb_triplet_fts: int, out_size: int, reduction: Reduction = "max") -> None:
        super().__init__()
        self.node_1, self.node_2, self.node_3 = (nn.LazyLinear(nb_triplet_fts) for _ in range(3))
        self.edge_1, self.edge_2, self.edge_3 = (nn.LazyLinear(nb_triplet_fts) for _ in range(3))
        self.graph = nn.LazyLinear(nb_triplet_fts)
        self.output: nn.Linear = nn.LazyLinear(out_size)
        self.reduction = reduction

    def forward(self, z: Tensor, edge_fts: Tensor, graph_fts: Tensor) -> Tensor:
        nodes = (self.node_1(z), self.node_2(z), self.node_3(z))
        edges = (self.edge_1(edge_fts), self.edge_2(edge_fts), self.edge_3(edge_fts))
        found: Tensor = self.output(reduce_triplets(nodes, edges, self.graph(graph_fts), self.reduction))
        return found
