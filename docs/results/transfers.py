"""Tables of a transfer of models to the algorithms of CLRS-30, beside the paper's own (EvoPrompting, Table 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from searches import Row, read

from evohpc.tasks.clrs.features import decodes_pairs

BASELINE = "baseline"
PUBLISHED = "paper.csv"
"""Table 3 as published, in the folder of the results."""
LEAST = 4
"""Of how many algorithms an order is compared."""
ORDERS, SEED = 10_000, 20230228
"""How many random orders a correlation is held against, and what draws them."""


def transfer(path: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row an algorithm: each model's score, and what the paper's best of them leads by."""
    rows = read(path)
    models = list(dict.fromkeys(row["model"] for row in rows))
    beside = ("the paper's best", "leads by, in the paper", "and here")
    yield "algorithm", "steps", "test runs", *(f"`{model}`" for model in models), *beside
    for name, of_algorithm in _by_algorithm(rows).items():
        first, paper = next(iter(of_algorithm.values())), _published(path)[name]
        cells = [_score(of_algorithm[model]) if model in of_algorithm else "" for model in models]
        yield name, first["steps"], first["samples"], *cells, *_leads(paper, of_algorithm)


def ranks(path: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row a comparison: do algorithms stand in the paper's order, by Spearman's correlation."""
    yield "order of the algorithms by", "algorithms", "rank correlation with the paper", "random orders as far from 0"
    published, found = _published(path), _by_algorithm(read(path))
    compared = {
        "the baseline's score": [
            (float(published[name]["baseline_accuracy"]), _number(models[BASELINE]["accuracy"]))
            for name, models in found.items()
        ],
        "the lead of the paper's best model": [
            (_paper_lead(published[name])[0], _lead(models[published[name]["best_model"]], models[BASELINE])[0])
            for name, models in found.items()
            if published[name]["best_model"] and decodes_pairs(name)
        ],
    }
    for label, pairs in compared.items():
        known = [pair for pair in pairs if np.isfinite(pair).all()]
        cells = ("too few", "") if len(known) < LEAST else correlation(known)
        yield label, str(len(known)), *cells


def moved(path: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of two rows: the paper's leads where triplets can change an answer, and where they cannot."""
    leads: dict[bool, list[float]] = {True: [], False: []}
    for row in read(path):
        leads[decodes_pairs(row["algorithm"])].append(_paper_lead(row)[0])
    chance = max(leads[False])
    numbers = "mean", "least", "largest", f"above {chance:.1f}"
    yield "can triplets change an answer", "algorithms", *(f"the paper's leads: {name}" for name in numbers)
    for can, of_kind in leads.items():
        mean, least, largest = (f"{value:+.1f}" for value in (np.mean(of_kind), min(of_kind), max(of_kind)))
        above = str(sum(lead > chance for lead in of_kind))
        yield "yes" if can else "no", str(len(of_kind)), mean, least, largest, above


def correlation(pairs: Sequence[tuple[float, float]]) -> tuple[str, str]:
    """Return Spearman's correlation of two orders, and the share of random orders that are as far from 0."""
    one, other = (_ranks(np.array(column)) for column in zip(*pairs, strict=True))
    if not (one.std() and other.std()):
        return "none: all are equal", ""
    found = float(np.corrcoef(one, other)[0, 1])
    random = np.random.default_rng(SEED)
    drawn = [abs(np.corrcoef(one, random.permutation(other))[0, 1]) for _ in range(ORDERS)]
    return f"{found:+.2f}", f"{100 * np.mean(np.array(drawn) >= abs(found) - 1e-9):.0f} %"


def _ranks(values: NDArray[np.float64]) -> np.ndarray:
    """Return the place of each value; equal ones share the mean of theirs."""
    below, equal = ((values[:, None] > values).sum(1), (values[:, None] == values).sum(1))
    return np.asarray(below + (equal - 1) / 2, dtype=float)


def _by_algorithm(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row["algorithm"], {})[row["model"]] = row
    return found


def _published(path: Path) -> dict[str, Row]:
    return {row["algorithm"]: row for row in read(path.parent / PUBLISHED)}


def _leads(paper: Row, found: dict[str, Row]) -> tuple[str, str, str]:
    """Return which model the paper names as the best, and its lead over the baseline there and here."""
    if not paper["best_model"]:
        return "the baseline", "", ""
    here = _lead(found[paper["best_model"]], found[BASELINE])
    return f"`{paper['best_model']}`", _spread(*_paper_lead(paper)), _spread(*here)


def _paper_lead(paper: Row) -> tuple[float, float]:
    errors = float(paper["accuracy_se"]), float(paper["baseline_accuracy_se"])
    return float(paper["accuracy"]) - float(paper["baseline_accuracy"]), float(np.hypot(*errors))


def _lead(model: Row, baseline: Row) -> tuple[float, float]:
    """Return by how much a model is ahead, and the standard error of that; NaN where one of the two never trained."""
    errors = _number(model["standard_error"]), _number(baseline["standard_error"])
    return _number(model["accuracy"]) - _number(baseline["accuracy"]), float(np.hypot(*errors))


def _number(cell: str) -> float:
    return float(cell or "nan")


def _spread(mean: float, error: float) -> str:
    return "none" if np.isnan(mean) else f"{mean:+.1f} ± {error:.1f}"


def _score(row: Row) -> str:
    if not row["accuracy"]:
        return row["failure"].partition(":")[0]
    missing = "" if row["trained"] == row["seeds"] else f" ({row['trained']} of {row['seeds']})"
    return f"{float(row['accuracy']):.1f} ± {_number(row['standard_error']):.1f}{missing}"
