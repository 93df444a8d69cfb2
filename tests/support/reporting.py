"""Runs of any size for reports, through the public store, without evaluating anything."""

from __future__ import annotations

import hashlib
import random
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evohpc import envelopes
from evohpc.evaluation.curve import Curve, Measured
from evohpc.messages import SEED_ROUND, Candidate, Isolation, Result, Status
from evohpc.run_folder import RunDir, read_provenance
from evohpc.search.search import Search
from evohpc.store.store import Store
from support.searching import make_config

START = datetime(2026, 11, 26, 8, tzinfo=UTC)

SOURCE = """import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, features={features}, kernel={kernel}):
        super().__init__()
        self.conv = nn.Conv1d(1, features, kernel)
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        # {note}
        return self.out(torch.relu(self.conv(x.unsqueeze(1))).flatten(1))
"""

FAILURES = {
    Status.SHAPE_ERROR: "RuntimeError: mat1 and mat2 shapes cannot be multiplied (32x10 and 12x10)",
    Status.SYNTAX: "line 3: unexpected indent",
    Status.DUPLICATE: "the same program as an earlier one",
    Status.TIMEOUT: "ran longer than 60 s",
    Status.BUILD_ERROR: "NameError: name 'feature' is not defined",
    Status.NODE_FAIL: "the node n13 died",
}


def make_run(
    folder: Path,
    children: int,
    *,
    rounds: int = 10,
    seed: int = 0,
    luck: int = 0,
    points: int = 0,
    overrides: Iterable[str] = (),
) -> Path:
    """Return a run folder with so many children of which about a third was trained, fitter from round to round.

    Args:
        luck: of two searches with one seed, which of them.
        points: of the curve of each training.
    """
    config = make_config(folder, f"search.rounds={rounds}", f"search.seed={seed}", *overrides)
    run = folder / "run"
    Search.create(run, config).close()
    entries = list(_entries(random.Random(1000 * luck + seed), children, rounds))
    write(run, entries)
    if points:
        pack_curves(run, entries, points)
    return run


def write(
    run: Path,
    entries: Iterable[tuple[Candidate, Result | None]],
    closed: Iterable[int] = (),
    late: Mapping[int, Sequence[str]] | None = None,
) -> None:
    """Write these as the whole content of a run's snapshot.

    Args:
        late: who had no outcome when a round closed.
    """
    entries = list(entries)
    aside = run / "made.db"
    store = Store(aside, epoch=1)
    with store.write():
        store.add_candidates([candidate for candidate, _ in entries])
        results = [result for _, result in entries if result is not None]
        store.add_results(results)
        store.conclude(results)
        for round in closed or sorted({candidate.round for candidate, _ in entries}):
            store.close_round(round, [], [], (late or {}).get(round, ()))
    store.snapshot(RunDir(run).snapshot)
    store.close()
    aside.unlink()


def pack_curves(run: Path, entries: Iterable[tuple[Candidate, Result | None]], points: int) -> None:
    """Write the archives of rounds, with the results of what was trained, and how errors fell by halves and by luck."""
    run_id, rng = read_provenance(RunDir(run))["run_id"], random.Random(points)
    by_round: dict[int, list[Result]] = {}
    for one, result in entries:
        if result is not None and result.error is not None:
            by_round.setdefault(one.round, []).append(result)
    for round, results in by_round.items():
        RunDir(run).round(round).path.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(RunDir(run).round(round).archive, "w", zipfile.ZIP_DEFLATED) as archive:
            for result in results:
                data = envelopes.seal(run_id, 1, Measured(**asdict(result), curve=_curve(rng, result, points)))
                archive.writestr(f"results/{result.candidate_id}.{result.attempt}.json", data)


def _curve(rng: random.Random, result: Result, points: int) -> Curve:
    error = result.error or 0.0
    return tuple((100.0 * n, error + 0.9 * 0.5**n + (n > 0) * 0.01 * rng.random()) for n in range(points))


def candidate(name: str, source: str = "", *, round: int = SEED_ROUND, **more: Any) -> Candidate:
    """Return a candidate that waits for its evaluation."""
    values: dict[str, Any] = {"prompt": 0, "sample": 0, "parents": (), "temperature": 0.6, "tokens": 100, "detail": ""}
    digest = hashlib.sha256(source.encode("utf-8", "replace")).hexdigest()[:16]
    made: dict[str, Any] = {
        "id": name,
        "round": round,
        "source": source,
        "code_hash": digest,
        "status": Status.PENDING,
        **values,
    }
    return Candidate(**{**made, **more})


def trained(name: str, num_params: int, error: float, *, at: datetime = START, **more: Any) -> Result:
    """Return the result of a candidate that was trained."""
    seconds = {"start": 0.4, "check": 0.1, "train": 30.0, "predict": 0.2, "score": 0.1, "total": 31.0}
    made: dict[str, Any] = {
        "candidate_id": name,
        "attempt": 1,
        "status": Status.TRAINED,
        "num_params": num_params,
        "error": error,
        "fitness": -num_params * error,
        "metrics": {"val_accuracy": 1 - error},
        "seconds": seconds,
        "isolation": Isolation.CONFINED,
        "host": f"n{num_params % 4}",
        "source_sha256": hashlib.sha256(name.encode()).hexdigest(),
        "versions": {"torch": "2.13.0", "evohpc": "0.1.0"},
        "finished_at": at.isoformat(timespec="seconds"),
    }
    return Result(**{**made, **more})


def _entries(rng: random.Random, children: int, rounds: int) -> Iterable[tuple[Candidate, Result | None]]:
    parents = []
    for name, size in (("seed-cnn", 5210), ("seed-gru", 5134), ("seed-mlp", 15210)):
        yield candidate(name, SOURCE.format(features=size // 100, kernel=5, note=name)), trained(name, size, 0.09)
        parents.append(name)
    per_round, clock = max(1, -(-children // rounds)), START
    for round in range(rounds):
        good = []
        for sample in range(min(per_round, children - round * per_round)):
            clock += timedelta(seconds=8)
            yield (made := _child(rng, round, sample, parents, clock))
            if made[1] is not None and made[1].status is Status.TRAINED:
                good.append((made[1].fitness, made[0].id))
        parents = [name for _, name in sorted(good, reverse=True)[:10]] or parents
        clock += timedelta(seconds=120)


def _child(
    rng: random.Random, round: int, sample: int, parents: list[str], clock: datetime
) -> tuple[Candidate, Result | None]:
    name = f"r{round:03d}p{sample // 100:02d}s{sample % 100:03d}"
    features, kernel = rng.randint(2, 80), rng.choice((3, 5, 7))
    source = SOURCE.format(features=features, kernel=kernel, note=f"{rng.random():.6f}")
    place: dict[str, Any] = {
        "round": round,
        "prompt": sample // 100,
        "sample": sample % 100,
        "tokens": rng.randint(60, 300),
    }
    born: dict[str, Any] = {
        "parents": tuple(rng.choices(parents, k=2)),
        "temperature": rng.choice((0.2, 0.6, 0.8, 1.0)),
    }
    if rng.random() < 0.35:
        size = int(rng.lognormvariate(8.2 - 0.12 * round, 0.6)) + 40
        error = min(0.9, rng.lognormvariate(-2.0 - 0.02 * round, 0.5))
        return candidate(name, source, **place, **born), trained(name, size, error, at=clock)
    status = rng.choice(list(FAILURES))
    detail = FAILURES[status]
    if status.is_refused:
        return candidate(name, source, **place, **born, status=status, detail=detail), None
    failed = Result(
        name, 1, status, detail, seconds={"total": 2.0, "start": 0.4}, host="n1", finished_at=clock.isoformat()
    )
    return candidate(name, source, **place, **born), failed
