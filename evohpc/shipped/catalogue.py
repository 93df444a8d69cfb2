"""Where the files lie that evohpc ships beside its code, and what they are: in a checkout, or copied into a wheel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_KINDS = (
    ("config", "configs/*.yaml"),
    ("worked example", "docs/own_task/config.yaml"),
    ("worked example", "examples/*/config.yaml"),
    ("site profile", "slurm/*.yaml"),
    ("image recipe", "containers/*.def"),
)


def root() -> Path:
    """Return the folder of configs/, seeds/, slurm/, containers/, examples/, docs/own_task/ and tests/hostile/."""
    installed = Path(__file__).parent / "files"  # setup.py fills it in a wheel
    return installed if installed.is_dir() else Path(__file__).parents[2]


def hostile() -> Path:
    """Return the folder of the candidates that attack, one a file."""
    return root() / "tests" / "hostile"


def listing() -> Iterator[tuple[str, Path, str]]:
    """Yield what ships: its kind, its file, and what its head says of it."""
    for kind, pattern in _KINDS:
        for path in sorted(root().glob(pattern)):
            yield kind, path, _first_sentence(path)


def _first_sentence(path: Path) -> str:
    """Return what the comment at the head of a file says first; '' without one."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("# ")), len(lines))
    comment = []
    for line in lines[start:]:
        if not line.startswith("# "):
            break
        comment.append(line[2:].strip())
    return " ".join(comment).partition(". ")[0].removesuffix(".")
