from __future__ import annotations

from functools import partial

from rich.console import Console

from evohpc.messages import SEED_ROUND, Status
from evohpc.report import trees
from evohpc.report.kinship import Family, tree
from evohpc.store.rows import Kin


def kin(name: str, round: int, parent: str, status: Status = Status.TRAINED) -> Kin:
    scores = (0.5, -50.0) if status is Status.TRAINED else (None, None)
    return Kin(name, round, (parent,) if parent else (), status, *scores)


FAMILY = Family(
    [
        kin("seed", SEED_ROUND, ""),
        kin("trained", 0, "seed"),
        kin("copy", 0, "seed", Status.DUPLICATE),
        kin("failed", 0, "seed", Status.SHAPE_ERROR),
        kin("given-up", 0, "seed", Status.SHAPE_ERROR),
        kin("repaired", 1, "failed"),
        kin("failed-again", 1, "failed", Status.BUILD_ERROR),
    ]
)


def drawn(id: str) -> list[str]:
    console = Console(width=80, no_color=True)
    with console.capture() as capture:
        console.print(trees.descendants_tree(tree(id, partial(trees.continued, FAMILY)), FAMILY))
    return [line.lstrip("│├└─ ") for line in capture.get().splitlines()]


def test_the_descendants_of_a_failed_child_that_was_repaired_are_shown() -> None:
    assert drawn("seed") == [
        "seed  -50  error 0.5  and 1 duplicate, 1 failed",
        "trained  -50  error 0.5",
        "failed  shape_error  and 1 failed",
        "repaired  -50  error 0.5",
    ]
