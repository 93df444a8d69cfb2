"""Trains the published Triplet-GMPNN as far as a given time allows, and scores it against the published accuracy.

python benchmarks/clrs_accuracy.py --seconds 60 bfs
python benchmarks/clrs_accuracy.py                      four algorithms, two at a time, 270 s of training each
python benchmarks/clrs_accuracy.py --seconds 100000 --seed 1 --samples 512 --every 250 segments_intersect

The recipe is that of the published tables: hidden size 128, batches of 32, Adam, sizes 4 to 16 sampled on line. Every
50 steps the network is scored on 64 runs of 16 nodes, and its best checkpoint on the published test set of 64 nodes.
The published validation sets have 32 runs for most algorithms, and up to 2,048 where a run has few outputs.
The published scores are after 10,000 steps (Ibarz et al. 2022, mean of ten seeds; EvoPrompting, Table 3).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from evohpc.tasks.base import Splits
    from evohpc.tasks.clrs.task import Clrs30

SEED_PROGRAM = Path(__file__).parent.parent / "seeds/clrs/v1_standard.py"
PUBLISHED = {  # Ibarz et al.; the baseline of EvoPrompting's authors
    "bfs": (99.73, 99.80),
    "bellman_ford": (97.39, 97.08),
    "dijkstra": (96.05, 95.94),
    "segments_intersect": (97.64, 97.40),
}
STEPS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("algorithms", nargs="*", default=list(PUBLISHED))
    parser.add_argument("--seconds", type=float, default=270, help="of training, each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=64, help="runs of 16 nodes that choose the checkpoint")
    parser.add_argument("--every", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(train(asked.algorithms[0], asked)))
        return
    print("| algorithm | steps, of 10,000 | best at step | 16 nodes, % | 64 nodes, % | published, 64 nodes, % |")
    print("|---" * 6 + "|")
    with ThreadPoolExecutor(asked.processes) as pool:
        for row in pool.map(lambda name: in_process(name, asked), asked.algorithms):
            ours = f"{row['steps']} | {row['best_step']} | {row['val']:.1f} | {row['test']:.1f}"
            published = " and ".join(map(str, PUBLISHED.get(str(row["algorithm"]), ("?",))))
            print(f"| {row['algorithm']} | {ours} | {published} |", flush=True)


def in_process(algorithm: str, asked: argparse.Namespace) -> dict[str, float | str]:
    """Train in a process of its own, on one core."""
    options = [f"--{name}={getattr(asked, name)}" for name in ("seconds", "seed", "samples", "every")]
    command = [sys.executable, __file__, "--one", algorithm, *options]
    row: dict[str, float | str] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    return row


def train(algorithm: str, asked: argparse.Namespace) -> dict[str, float | str]:
    """Return the steps done, the step of the best checkpoint, and its scores at 16 and 64 nodes in percent."""
    import torch

    from evohpc.tasks.clrs.task import Clrs30

    warnings.filterwarnings("ignore", message="Lazy modules are a new feature")
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    task = Clrs30(algorithm=algorithm, steps=STEPS, weight_decay=0.0, eval_every=asked.every, samples=asked.samples)
    module = ModuleType("candidate")
    exec(SEED_PROGRAM.read_text(), module.__dict__)
    model, splits = task.build(module), task.prepare(asked.seed)
    best: tuple[float, int, dict[str, torch.Tensor]] = (-1.0, 0, {})
    step, ends = 0, time.monotonic() + asked.seconds
    for row in task.train(model, {}, asked.seed):
        step = int(row["step"])
        accuracy = score(task, model, splits)
        if accuracy > best[0]:
            best = (accuracy, step, {name: tensor.clone() for name, tensor in model.state_dict().items()})
        print(f"{algorithm}: step {step}, loss {row['loss']:.3f}, {accuracy:.3f} at 16", file=sys.stderr, flush=True)
        if time.monotonic() > ends:
            break
    model.load_state_dict(best[2])
    held_out = Clrs30(algorithm=algorithm, evaluate_on="test")
    test = score(held_out, model, held_out.prepare(0))
    return {"algorithm": algorithm, "steps": step, "best_step": best[1], "val": 100 * best[0], "test": 100 * test}


def score(task: Clrs30, model: torch.nn.Module, splits: Splits) -> float:
    """Return the CLRS score on held-out runs."""
    model.eval()
    error: float = task.score([task.predict(model, splits.inputs)], splits.labels).error
    model.train()
    return 1 - error


if __name__ == "__main__":
    main()
