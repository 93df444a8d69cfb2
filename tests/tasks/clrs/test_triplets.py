"""The streamed reduction of triplets against the tensor of all of them."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch

from evohpc.tasks.clrs.triplets import Reduction, max_plus, reduce_triplets

BATCH, NODES, FEATURES = 2, 5, 3
LITERAL: dict[Reduction, Callable[..., torch.Tensor]] = {
    "max": torch.amax,
    "min": torch.amin,
    "sum": torch.sum,
    "mean": torch.mean,
}


def parts() -> Any:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(BATCH, *shape, FEATURES, generator=generator, dtype=torch.float64, requires_grad=True)

    return [drawn(NODES) for _ in range(3)], [drawn(NODES, NODES) for _ in range(3)], drawn()


def literally(nodes: Any, edges: Any, graph: Any, reduction: Reduction) -> torch.Tensor:
    n1, n2, n3 = nodes
    e1, e2, e3 = edges
    of_nodes = n1[:, :, None, None] + n2[:, None, :, None] + n3[:, None, None, :]
    of_edges = e1[:, :, :, None] + e2[:, :, None, :] + e3[:, None, :, :]
    return LITERAL[reduction](of_nodes + of_edges + graph[:, None, None, None], 1)


@pytest.mark.parametrize("reduction", LITERAL)
def test_reduction_and_its_gradients_equal_the_literal_ones(reduction: Reduction) -> None:
    nodes, edges, graph = parts()
    leaves = [*nodes, *edges, graph]
    expected = literally(nodes, edges, graph, reduction)
    found = reduce_triplets(tuple(nodes), tuple(edges), graph, reduction)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(expected)
    grads = (torch.autograd.grad((each * weight).sum(), leaves) for each in (found, expected))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_graph_may_be_left_out() -> None:
    nodes, edges, graph = parts()
    expected = literally(nodes, edges, torch.zeros_like(graph), "max")
    torch.testing.assert_close(reduce_triplets(tuple(nodes), tuple(edges)), expected)


def test_unknown_reduction_is_refused() -> None:
    nodes, edges, _ = parts()
    with pytest.raises(ValueError, match="reduction is 'median', it must be 'max', 'min', 'sum' or 'mean'"):
        reduce_triplets(tuple(nodes), tuple(edges), reduction=cast(Any, "median"))


def test_first_of_equal_maxima_gets_the_gradient() -> None:
    left = torch.zeros(1, 2, 2, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(max_plus(left, torch.zeros(1, 2, 2, 1)).sum(), left)
    assert gradient[0, :, :, 0].tolist() == [[2, 2], [0, 0]]
