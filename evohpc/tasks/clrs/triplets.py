"""What a candidate of a CLRS search is, and a reduction over triplets that needs no (n, n, n) tensor.

A candidate defines one class, the triplet representation of the network's processor (Ibarz et al. 2022, section 3;
EvoPrompting, section 5 and Listings 6-19):

    class Triplets(nn.Module):
        def __init__(self, nb_triplet_fts: int, out_size: int) -> None: ...
        def forward(self, z: Tensor, edge_fts: Tensor, graph_fts: Tensor) -> Tensor: ...

    z          (batch, n, 2h)      features of each node, then its hidden state
    edge_fts   (batch, n, n, h)    features of each ordered pair of nodes
    graph_fts  (batch, h)          features of the whole graph
    returns    (batch, n, n, any)  a message for each pair of nodes

`out_size` is h, 128 in the paper; `nb_triplet_fts` is 8. It is called at every step of the algorithm, with n between
4 and 64 and a batch that shrinks as runs end. The processor applies a ReLU to the result and gives it to the decoders,
which read as many columns as there are. Modules may be lazy; an `nn.Linear` starts as Haiku's `hk.Linear` does.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

Reduction = Literal["max", "min", "sum", "mean"]


def reduce_triplets(
    nodes: tuple[Tensor, Tensor, Tensor],
    edges: tuple[Tensor, Tensor, Tensor],
    graph: Tensor | None = None,
    reduction: Reduction = "max",
) -> Tensor:
    """Return the reduction over i of t[b, i, j, k] = sum of three node, three edge and one graph representation.

    The same as summing them in a tensor (batch, n, n, n, f) and reducing its axis 1, in memory for (batch, n, n, f).
    Of equal maxima the first gets the gradient.

    Args:
        nodes: of i, of j and of k, each (batch, n, f).
        edges: of (i, j), of (i, k) and of (j, k), each (batch, n, n, f).
        graph: (batch, f), or None.

    Raises:
        ValueError: no such reduction.
    """
    (of_i, of_j, of_k), (of_ij, of_ik, of_jk) = nodes, edges
    rest = of_j[:, :, None] + of_k[:, None] + of_jk
    if graph is not None:
        rest = rest + graph[:, None, None]
    left = of_i[:, :, None] + of_ij
    if reduction == "max":
        return max_plus(left, of_ik) + rest
    if reduction == "min":
        return rest - max_plus(-left, -of_ik)
    if reduction == "sum":
        return left.sum(1)[:, :, None] + of_ik.sum(1)[:, None] + left.shape[1] * rest
    if reduction == "mean":
        return left.mean(1)[:, :, None] + of_ik.mean(1)[:, None] + rest
    raise ValueError(f"reduction is {reduction!r}, it must be 'max', 'min', 'sum' or 'mean'")


def max_plus(left: Tensor, right: Tensor) -> Tensor:
    """Return max over i of left[b, i, j] + right[b, i, k]: a matrix product over the tropical semiring.

    Args:
        left, right: (batch, n, n, f).

    Returns:
        (batch, n, n, f), at (j, k).
    """
    product: Tensor = _MaxPlus.apply(left, right)  # type: ignore[no-untyped-call]
    return product


class _MaxPlus(torch.autograd.Function):
    """Keeps which i won, so that neither direction needs a tensor with all of i, j and k."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        best = left[:, 0, :, None] + right[:, 0, None]
        winner = torch.zeros(best.shape, dtype=torch.int16, device=best.device)
        for i in range(1, left.shape[1]):
            other = left[:, i, :, None] + right[:, i, None]
            winner.masked_fill_(other > best, i)
            torch.maximum(best, other, out=best)
        ctx.save_for_backward(winner)
        return best

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (winner,), (grad,) = ctx.saved_tensors, grads
        index = winner.long()
        # index[b, j, k] = i: sum over k into left[b, i, j], and over j into right[b, i, k].
        to_left = torch.zeros_like(grad).scatter_add_(1, index.transpose(1, 2), grad.transpose(1, 2))
        to_right = torch.zeros_like(grad).scatter_add_(1, index, grad)
        return to_left, to_right
