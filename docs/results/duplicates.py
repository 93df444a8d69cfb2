"""Writes duplicates.csv: which trained children of searches a filter would have called copies of earlier ones.

    python docs/results/duplicates.py RUN...

Each rule goes through the trained candidates of a search in their order and says of which earlier one, that it has not
called a copy itself, each is a copy, if of any.
"""

from __future__ import annotations

import ast
import io
import math
import re
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from copies import RESULT

import evohpc
from evohpc.evolution.code_hash import code_hash
from evohpc.evolution.neutral_code import computation_hash

HERE = Path(__file__).parent
KEPT = ("search", "id", "round", "num_params", "error", "fitness")
SHINGLE = 5
"""Tokens in a row."""
NEAR = 0.9
_SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass(frozen=True, eq=False)
class Child:
    """A trained candidate, seeds included."""

    row: dict[str, Any]

    @property
    def result(self) -> object:
        return tuple(self.row[name] for name in RESULT)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.row["source"])

    @cached_property
    def tokens(self) -> list[str]:
        lines = io.StringIO(ast.unparse(self.tree)).readline
        return [token.string for token in tokenize.generate_tokens(lines) if token.type not in _SKIPPED]

    @cached_property
    def shingles(self) -> set[tuple[str, ...]]:
        return _shingles(self.tokens)

    @cached_property
    def structure(self) -> list[str]:
        return ["0" if token[:1].isdigit() else token for token in self.tokens]

    @cached_property
    def structure_shingles(self) -> set[tuple[str, ...]]:
        return _shingles(self.structure)


def _shingles(tokens: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(tokens[start : start + SHINGLE]) for start in range(max(1, len(tokens) - SHINGLE + 1))}


def with_attributes_numbered(child: Child) -> str:
    """Return the digest of a program in which what it gives to `self` has numbers for names."""
    made = re.findall(r"self\.(\w+)(?=[^=\n]* = )", source := ast.unparse(child.tree))
    numbers = {name: f"a{number}" for number, name in enumerate(dict.fromkeys(made))}
    renamed = re.sub(r"(?<=self\.)\w+", lambda match: numbers.get(match[0], match[0]), source)
    return code_hash(ast.parse(renamed), renamed)


def jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    """Return what MinHash estimates: the share of the shingles of both that both have."""
    return len(one & other) / len(one | other)


def equal(key: Callable[[Child], object]) -> Callable[[Child, Child], float]:
    """Return a rule by which children with the same key are copies."""
    known = cache(key)
    return lambda one, other: float(known(one) == known(other))


RULES: dict[str, Callable[[Child, Child], float]] = {
    "same result": equal(lambda child: child.result),
    "same_computation": equal(lambda child: computation_hash(child.tree, child.row["source"])),
    "names of attributes": equal(with_attributes_numbered),
    "structure and size": equal(lambda child: (child.structure, child.row["num_params"])),
    "similarity": lambda one, other: jaccard(one.shingles, other.shingles),
    "similarity without numbers": lambda one, other: jaccard(one.structure_shingles, other.structure_shingles),
}
"""How like two programs are, 0 to 1; copies from `NEAR` on."""


def copies(children: Sequence[Child], likeness: Callable[[Child, Child], float]) -> Iterator[str]:
    """Yield of each child the id of the candidate that it is called a copy of; '' for none."""
    kept: list[Child] = []
    for child in children:
        like, number = max(((likeness(child, one), -index) for index, one in enumerate(kept)), default=(-math.inf, 0))
        is_copy = like >= NEAR
        yield kept[-number].row["id"] if is_copy else ""
        if not is_copy:
            kept.append(child)


def main() -> None:
    found = []
    for run in map(Path, sys.argv[1:]):
        candidates = evohpc.load(run).candidates
        trained = candidates[candidates["status"] == "trained"].sort_values(["round", "id"])
        children = [Child(row) for row in trained.to_dict("records")]
        columns = {rule: list(copies(children, likeness)) for rule, likeness in RULES.items()}
        rows = [{name: child.row.get(name, run.name) for name in KEPT} | {"search": run.name} for child in children]
        found.append(pd.DataFrame(rows).assign(**columns))
    pd.concat(found).to_csv(HERE / "duplicates.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
