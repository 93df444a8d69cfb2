from __future__ import annotations

from evohpc.messages import SEED_ROUND, Status
from evohpc.report.kinship import Branch, Family, tree
from evohpc.store.rows import Kin


def kin(id: str, *parents: str, fitness: float | None = -1.0) -> Kin:
    status = Status.TRAINED if fitness is not None else Status.TIMEOUT
    return Kin(id, 0 if parents else SEED_ROUND, parents, status, None if fitness is None else 0.1, fitness)


FAMILY = Family(
    [
        kin("a", fitness=-9),
        kin("b", fitness=-8),
        kin("c", "a", "b", fitness=-7),
        kin("d", "a", "a", fitness=-6),
        kin("e", "c", "d", fitness=-5),
        kin("f", "e", "a", fitness=None),
        kin("g", "gone", "a", fitness=-4),
    ]
)


def test_next_of_kin() -> None:
    assert FAMILY.parents("d") == ["a"]
    assert FAMILY.parents("g") == ["a"], "a parent that is not there is left out"
    assert FAMILY.children("a") == ["g", "d", "c", "f"], "the fittest first, what was not trained last"
    assert FAMILY.ancestors("f") == ["e", "a", "c", "d", "b"]
    assert FAMILY.descendants("b") == ["c", "e", "f"]
    assert FAMILY.path("f") == ["f", "e", "d", "a"]


def test_a_candidate_has_its_branches_where_it_is_nearest() -> None:
    c = Branch("c", (Branch("a"), Branch("b")))
    e = Branch("e", (c, Branch("d", (Branch("a"),))))
    assert tree("e", FAMILY.parents) == Branch(
        "e", (Branch("c", (Branch("a"), Branch("b"))), Branch("d", (Branch("a"),)))
    )
    assert tree("f", FAMILY.parents).branches[1] == Branch("a"), "one step away, not three"
    assert tree("e", FAMILY.parents) == e


def test_what_the_depth_hides_is_counted() -> None:
    assert tree("e", FAMILY.parents, depth=1) == Branch("e", (Branch("c", hidden=2), Branch("d", hidden=1)))
    assert tree("e", FAMILY.parents, depth=0) == Branch("e", hidden=4)


def test_a_repeated_branch_is_marked() -> None:
    family = Family([kin("a"), kin("b", "a"), kin("c", "b"), kin("d", "b"), kin("e", "c", "d")])
    first, second = tree("e", family.parents).branches
    assert first.branches == (Branch("b", (Branch("a"),)),)
    assert second.branches == (Branch("b", is_repeated=True),)
