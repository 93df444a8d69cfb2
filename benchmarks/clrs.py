"""Times a training step of Triplet-GMPNN in evohpc against dm-clrs under JAX, side by side, on one core.

python benchmarks/clrs.py JAX_PYTHON [--memory] [ALGORITHM...]

JAX_PYTHON is a Python with the whole of dm-clrs (pip install dm-clrs==2.0.3 safetensors). Both sides train on the same
batch, 32 runs of 16 nodes at hidden size 128, with weights of their own; after one step to compile or warm up, each is
timed by turns. --memory instead compares the peak memory of a step on 8 runs of 64 nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
ALGORITHMS = ("bfs", "dijkstra", "insertion_sort", "graham_scan", "floyd_warshall")
SEED, HIDDEN, ROUNDS = 7, 128, 5
SIDES = {"jax": "dm-clrs, JAX", "torch": "evohpc, seed", "streamed": "evohpc, streamed"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("jax_python")
    parser.add_argument("algorithms", nargs="*", default=ALGORITHMS)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    size, count = (64, 8) if asked.memory else (16, 32)
    if asked.side:
        serve(asked.side, asked.algorithms[0], size, count)
        return
    unit, digits = ("MB", 0) if asked.memory else ("s", 3)
    print("| algorithm | " + " | ".join(f"{name}, {unit}" for name in SIDES.values()) + " | ratio of the best |")
    print("|---" * (len(SIDES) + 2) + "|")
    for algorithm in asked.algorithms:
        found = compare(asked, algorithm)
        ratio = min(found["torch"], found["streamed"]) / found["jax"]
        cells = [f"{found[side]:.{digits}f}" for side in SIDES]
        print(f"| {algorithm} | " + " | ".join(cells) + f" | {ratio:.2f} |", flush=True)


def compare(asked: argparse.Namespace, algorithm: str) -> dict[str, float]:
    """Return each side's median seconds, or peak megabytes, of a step."""
    sides = {side: start(asked, side, algorithm) for side in SIDES}
    try:
        for child in sides.values():
            ask(child)
        answers = {side: [] for side in SIDES}
        for _ in range(1 if asked.memory else ROUNDS):
            for side, child in sides.items():
                answers[side].append(ask(child))
    finally:
        for child in sides.values():
            child.stdin.close()
            child.wait()
    of = "megabytes" if asked.memory else "seconds"
    return {side: statistics.median(answer[of] for answer in found) for side, found in answers.items()}


def start(asked: argparse.Namespace, side: str, algorithm: str) -> subprocess.Popen:
    """Start a side's process on one core."""
    python = asked.jax_python if side == "jax" else sys.executable
    flags = ["--memory"] if asked.memory else []
    core = str(max(os.sched_getaffinity(0)))
    command = ["taskset", "-c", core, python, __file__, asked.jax_python, algorithm, "--side", side, *flags]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet)


def ask(child: subprocess.Popen) -> dict[str, float]:
    """Have a side take one step; return what it took."""
    child.stdin.write("step\n")
    child.stdin.flush()
    answer = child.stdout.readline()
    if not answer:
        sys.exit(f"{child.args} died")
    return json.loads(answer)


def serve(side: str, algorithm: str, size: int, count: int) -> None:
    """Take a step for each line of stdin. Memory is the peak above what the process held before its first step."""
    step = (jax_step if side == "jax" else torch_step)(algorithm, size, count, side == "streamed")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in sys.stdin:
        started = time.perf_counter()
        step()
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"seconds": seconds, "megabytes": (peak - before) / 1024}), flush=True)


def jax_step(algorithm: str, size: int, count: int, _: bool) -> Callable[[], None]:
    sys.path[0] = str(TESTS)  # instead of this folder, in which clrs is this file
    import clrs
    import jax
    from support.clrs import reference

    spec, stream = reference.batches(algorithm, size, count)
    batch = next(stream)
    factory = clrs.get_processor_factory("triplet_gmpnn", use_ln=True, nb_triplet_fts=8, nb_heads=1)
    model = clrs.models.BaselineModel(
        spec=spec,
        dummy_trajectory=batch,
        processor_factory=factory,
        hidden_dim=HIDDEN,
        encode_hints=True,
        encoder_init="xavier_on_scalars",
        learning_rate=1e-3,
        grad_clip_max_norm=1.0,
    )
    model.init(batch.features, 0)
    key = jax.random.PRNGKey(0)
    return lambda: float(model.feedback(key, batch))


def torch_step(algorithm: str, size: int, count: int, streamed: bool) -> Callable[[], None]:
    import warnings

    warnings.simplefilter("ignore")
    sys.path.insert(0, str(TESTS))
    import torch
    from support.clrs.clrs_candidates import SEEDS, load_candidate
    from support.clrs.streamed import Streamed

    from evohpc.tasks.clrs import sampling
    from evohpc.tasks.clrs.features import features
    from evohpc.tasks.clrs.linear import haiku_defaults
    from evohpc.tasks.clrs.losses import loss
    from evohpc.tasks.clrs.network import Network, Tensors

    torch.set_num_threads(1)
    candidate = Streamed if streamed else load_candidate(SEEDS / "v1_standard.py").Triplets
    batch = Tensors.of(next(sampling.training_batches(algorithm, SEED, count, (size,))))
    with haiku_defaults():
        network = Network(features(algorithm), HIDDEN, candidate(8, HIDDEN))
        with torch.no_grad():
            network(Tensors.of(next(sampling.training_batches(algorithm, SEED, 1, (4,)))))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        found = loss(network, network(batch), batch)
        found.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        found.item()

    return step


if __name__ == "__main__":
    main()
