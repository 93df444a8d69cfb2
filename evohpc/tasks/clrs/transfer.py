"""Trains given models on many algorithms and tests them out of distribution: EvoPrompting's Table 3.

    python -m evohpc.tasks.clrs.transfer OUT seeds/clrs/v1_standard.py best.py --algorithms bfs dfs --repeats 3

Every training is 10,000 steps (Ibarz et al. 2022); its best checkpoint on validation runs is tested on the published
runs of 64 nodes. Each result is a file in OUT and is not computed again; OUT/table.csv holds mean and standard error
over the repeats. On a cluster: `--count` prints the number of trainings N, `--index I` runs one of 0 to N - 1 (a job
array), and the command without either does what is left.

The models' code runs in this process, unconfined: evaluate what you do not trust with task_options.evaluate_on=test.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import statistics
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from evohpc.errors import EvohpcError, TaskError
from evohpc.rundir import write_atomic
from evohpc.tasks.clrs.features import algorithms, check_algorithm
from evohpc.tasks.clrs.task import Clrs30

PUBLISHED = {"steps": 10_000, "weight_decay": 0.0}
"""Task options of the published tables."""


@dataclass(frozen=True, slots=True)
class Training:
    """One model on one algorithm, once; its file in OUT."""

    model: str
    algorithm: str
    repeat: int
    num_params: int = 0
    accuracy: float | None = None
    """CLRS score at 64 nodes; None where the model failed."""
    best_step: int = 0
    seconds: float = 0.0
    failure: str = ""
    options: str = ""
    """Task options that were asked for, as JSON."""
    source: str = ""
    """sha256 of the model's file, 16 hex digits."""

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.model}.{self.algorithm}.{self.repeat}.json"


def plan(
    models: Sequence[Path], names: Sequence[str], repeats: int, options: Mapping[str, Any]
) -> list[tuple[Path, Training]]:
    """Return all trainings in a fixed order, none of them done.

    Raises:
        TaskError: an unknown algorithm, a missing file, or two models of one name.
    """
    stems = [model.stem for model in models]
    for model in models:
        if not model.is_file():
            raise TaskError(f"{model}: no such model file")
        if stems.count(model.stem) > 1:
            raise TaskError(f"{model}: two models are called {model.stem}; rename one")
    for name in names:
        check_algorithm(name)
    asked = json.dumps(options, sort_keys=True)
    sources = {model: hashlib.sha256(model.read_bytes()).hexdigest()[:16] for model in models}
    return [
        (model, Training(model.stem, name, repeat, options=asked, source=sources[model]))
        for name in names
        for model in models
        for repeat in range(repeats)
    ]


def run(path: Path, training: Training) -> Training:
    """Train and test once. What the model's code raises is recorded as its failure."""
    started = time.perf_counter()
    options = {**PUBLISHED, **json.loads(training.options)}
    task = Clrs30(**{**options, "algorithm": training.algorithm, "evaluate_on": "test"})
    try:
        num_params, row, accuracy = _train_and_test(task, path, training.repeat)
    except Exception as error:
        return replace(training, failure=" ".join(f"{type(error).__name__}: {error}".split())[:300])
    seconds = round(time.perf_counter() - started, 1)
    return replace(training, num_params=num_params, accuracy=accuracy, best_step=int(row["step"]), seconds=seconds)


def _train_and_test(task: Clrs30, path: Path, seed: int) -> tuple[int, dict[str, float], float]:
    import torch

    torch.manual_seed(seed)
    module = ModuleType("candidate")
    exec(compile(task.interface.prelude + path.read_text(), str(path), "exec"), module.__dict__)
    model, row = task.build(module), {}
    for row in task.train(model, {}, seed):
        if row["step"] % 500 == 0:
            print(f"  {task.algorithm} {path.stem}: {row}", file=sys.stderr, flush=True)
    splits = task.prepare(seed)
    model.eval()
    score = task.score([task.predict(model, splits.inputs)], splits.labels)
    num_params = sum(tensor.numel() for tensor in model.state_dict().values())
    return num_params, row, score.metrics["test_accuracy"]


def table(out: Path) -> list[dict[str, Any]]:
    """Return a row for each algorithm and model from the results in OUT: size, accuracy in percent, its error."""
    groups: dict[tuple[str, str], list[Training]] = {}
    for path in sorted(out.glob("*.json")):
        training = Training(**json.loads(path.read_text()))
        groups.setdefault((training.algorithm, training.model), []).append(training)
    return [_row(algorithm, model, trainings) for (algorithm, model), trainings in sorted(groups.items())]


def _row(algorithm: str, model: str, trainings: list[Training]) -> dict[str, Any]:
    scores = [100 * training.accuracy for training in trainings if training.accuracy is not None]
    failures = [training.failure for training in trainings if training.failure]
    spread = statistics.stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else None
    return {
        "algorithm": algorithm,
        "model": model,
        "num_params": max(training.num_params for training in trainings),
        "accuracy": round(statistics.mean(scores), 2) if scores else "",
        "standard_error": "" if spread is None else round(spread, 2),
        "runs": len(scores),
        "failure": failures[0] if failures else "",
    }


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Return the rows of `table` as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _undone(out: Path, planned: Sequence[tuple[Path, Training]]) -> Iterator[tuple[Path, Training]]:
    """Yield what has no result yet.

    Raises:
        TaskError: a result is there of another model or of other options.
    """
    for path, training in planned:
        file = out / training.file
        if not file.exists():
            yield path, training
            continue
        done = Training(**json.loads(file.read_text()))
        if (done.source, done.options) != (training.source, training.options):
            raise TaskError(f"{file}: is of another {path} or of options {done.options}; choose another OUT folder")


def _options(pairs: Sequence[str]) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise TaskError(f"--set {pair}: write it as option=value, e.g. --set steps=1000")
        found[name] = yaml.safe_load(value)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evohpc.tasks.clrs.transfer", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the results")
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="file with a class Triplets")
    parser.add_argument("--algorithms", nargs="+", metavar="NAME", help="default: all 30")
    parser.add_argument("--repeats", type=int, default=3, help="trainings of each, with seeds 0, 1, ...; default 3")
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=VALUE", help="of the task, e.g. steps=1000"
    )
    parser.add_argument("--count", action="store_true", help="print the number of trainings, and stop")
    parser.add_argument("--index", type=int, metavar="I", help="run this one only, counted from 0")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the exit code."""
    asked = _parser().parse_args(arguments)
    warnings.filterwarnings("ignore", message="Lazy modules are a new feature")
    try:
        planned = plan(asked.models, asked.algorithms or algorithms(), asked.repeats, _options(asked.set))
        if asked.count:
            print(len(planned))
            return 0
        if asked.index is not None and not 0 <= asked.index < len(planned):
            raise TaskError(f"--index {asked.index}: there are {len(planned)} trainings, from 0")
        _run_all(asked.out, planned if asked.index is None else [planned[asked.index]])
    except (EvohpcError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run_all(out: Path, planned: Sequence[tuple[Path, Training]]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for path, training in list(_undone(out, planned)):
        done = run(path, training)
        write_atomic(out / training.file, json.dumps(asdict(done), indent=1) + "\n")
    text = as_csv(table(out))
    write_atomic(out / "table.csv", text)
    print(text, end="")


if __name__ == "__main__":
    sys.exit(main())
