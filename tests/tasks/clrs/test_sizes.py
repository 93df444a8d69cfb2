"""Parameter counts against the integers that EvoPrompting prints (Table 3, and the seeds' listings)."""

from collections.abc import Callable

import pytest
import torch
from support.clrs.clrs_candidates import DISCOVERED, SEEDS, load_candidate

from evohpc.tasks.clrs.features import algorithms, features
from evohpc.tasks.clrs.network import Network, Tensors
from evohpc.tasks.clrs.sampling import training_batches

HIDDEN, TRIPLET_FEATURES = 128, 8

# Algorithm: size with the standard triplets; the model that has the published size of the best found one; that size.
PUBLISHED = {
    "activity_selector": (262204, "tanh_expand_triplets", 262204),
    "articulation_points": (531913, "quad_node_min_max", 497969),
    "bellman_ford": (524604, "concat_rep", 568660),
    "bfs": (523963, "max_mean", 522931),
    "binary_search": (262204, "tanh_expand_triplets", 262204),
    "bridges": (532556, "concat_rep", 576612),
    "bubble_sort": (524477, "concat_rep", 568533),
    "dag_shortest_paths": (793287, "tanh_expand_triplets", 793287),
    "dfs": (661190, "div2_mean", 660158),
    "dijkstra": (525886, "div2_mean", 524854),
    "find_maximum_subarray_kadane": (264514, "quad_node_min_max", 261290),
    "floyd_warshall": (625089, "concat_rep", 669145),
    "graham_scan": (398409, "max_mean", 397377),
    "heapsort": (659654, "concat_rep", 703710),
    "insertion_sort": (524477, "div2_mean", 523445),
    "jarvis_march": (264898, "concat_rep", 308954),
    "kmp_matcher": (398021, "div2_mean", 396989),
    "lcs_length": (270419, "tanh_expand_triplets", 270419),
    "matrix_chain_order": (624448, "tanh_expand_triplets", 624448),
    "minimum": (261307, "div2_mean", 260275),
    "mst_kruskal": (399691, "concat_rep", 443747),
    "mst_prim": (525886, "concat_rep", 569942),
    "naive_string_matcher": (262588, "quad_node_min_max", 259364),
    "optimal_bst": (625987, "div2_mean", 624955),
    "quickselect": (395714, "quad_node_min_max", 377130),
    "quicksort": (525759, "div2_mean", 524727),
    "segments_intersect": (263359, "div2_mean", 262327),
    "strongly_connected_components": (663243, "concat_rep", 707299),
    "task_scheduling": (262333, "tanh_expand_triplets", 262333),
    "topological_sort": (660164, "tanh_expand_triplets", 660164),
}

SEARCHED = ("articulation_points", "graham_scan", "mst_kruskal")
SEED_SIZES = {
    "v1_standard": (531913, 398409, 399691),
    "v2_output_mlp": (548425, 414921, 416203),
    "v3_sum": (531913, 398409, 399691),
    "v4_node_mlp": (532129, 398625, 399907),
    "v5_edge_mlp": (532129, 398625, 399907),
    "v6_graph_mlp": (531985, 398481, 399763),
    "v7_no_graph": (530881, 397377, 398659),
    "v8_node_only": (553361, 419857, 421139),
    "v9_bilinear": (758337, 624833, 626115),
}


def size(algorithm: str, candidate: Callable[..., torch.nn.Module]) -> int:
    """Count the numbers in a network's state dict, as an evaluation does."""
    # dm-clrs got this hint in May 2024, after the paper.
    of = tuple(each for each in features(algorithm) if (algorithm, each.name) != ("quickselect", "pivot"))
    network = Network(of, HIDDEN, candidate(TRIPLET_FEATURES, HIDDEN))
    with torch.no_grad():
        network(Tensors.of(next(training_batches(algorithm, 0, 1, (16,) if "matcher" in algorithm else (4,)))))
    return sum(tensor.numel() for tensor in network.state_dict().values())


def test_every_algorithm_has_a_published_size() -> None:
    assert tuple(PUBLISHED) == algorithms()


@pytest.mark.parametrize("algorithm", PUBLISHED)
def test_baseline(algorithm: str) -> None:
    assert size(algorithm, load_candidate(SEEDS / "v1_standard.py").Triplets) == PUBLISHED[algorithm][0]


@pytest.mark.parametrize("algorithm", PUBLISHED)
def test_best_found_model(algorithm: str) -> None:
    _, name, expected = PUBLISHED[algorithm]
    assert size(algorithm, load_candidate(DISCOVERED / f"{name}.py").Triplets) == expected


@pytest.mark.parametrize("seed", SEED_SIZES)
def test_seed_on_the_searched_algorithms(seed: str) -> None:
    candidate = load_candidate(SEEDS / f"{seed}.py").Triplets
    assert tuple(size(algorithm, candidate) for algorithm in SEARCHED) == SEED_SIZES[seed]


def test_div2_mean_and_max_mean_have_one_size() -> None:
    sizes = [size("bfs", load_candidate(DISCOVERED / f"{name}.py").Triplets) for name in ("div2_mean", "max_mean")]
    assert sizes == [522931, 522931]


def test_folders_hold_just_these() -> None:
    assert {path.stem for path in SEEDS.glob("*.py")} == set(SEED_SIZES)
    assert {path.stem for path in DISCOVERED.glob("*.py")} == {name for _, name, _ in PUBLISHED.values()}
