"""When trackers are told of a round, and what becomes of their faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import pytest

from evohpc.driver.progress import Progress, Step
from evohpc.messages import SEED_ROUND
from evohpc.search.tracking import Tracked


@dataclass
class Diary:
    """Keeps the rounds that it is told of."""

    rounds: list[int] = field(default_factory=list)
    fails: bool = False

    def has(self, round: int) -> bool:
        return round in self.rounds

    def tell(self, rounds: Sequence[int]) -> None:
        if self.fails:
            raise RuntimeError("its disk is full")
        self.rounds.extend(rounds)


def progress(round: int, step: str) -> Progress:
    assert step in get_args(Step)
    return Progress(round, 3, step, 0, 1, {}, None)  # type: ignore[arg-type]


SEARCH = [
    (SEED_ROUND, "evaluate"),
    (SEED_ROUND, "close"),
    (0, "propose"),
    (0, "close"),
    (1, "evaluate"),
    (1, "evaluate"),
]


def follow(diary: Diary, *places: tuple[int, str]) -> list[Progress]:
    seen: list[Progress] = []
    tracked = Tracked(seen.append, {"diary": lambda: diary})
    for place in places:
        tracked(progress(*place))
    return seen


@pytest.mark.parametrize(
    ("end", "rounds"), [([], [-1, 0]), ([(2, "propose")], [-1, 0, 1]), ([(2, "propose"), (2, "done")], [-1, 0, 1, 2])]
)
def test_a_round_is_told_once_it_has_closed(end: list[tuple[int, str]], rounds: list[int]) -> None:
    diary = Diary()
    seen = follow(diary, *SEARCH, *end)
    assert diary.rounds == rounds
    assert len(seen) == len(SEARCH) + len(end)


def test_the_next_driver_tells_what_is_missing_only() -> None:
    diary = Diary([-1, 0])
    follow(diary, (2, "evaluate"), (2, "close"), (2, "done"))
    assert diary.rounds == [-1, 0, 1, 2]


def test_a_round_that_was_cut_off_is_told_again_when_it_has_closed() -> None:
    diary = Diary()
    follow(diary, *SEARCH, (1, "stopped"))
    assert diary.rounds == [-1, 0, 1]
    follow(diary, (1, "evaluate"), (1, "close"), (2, "propose"))
    assert diary.rounds == [-1, 0, 1, 1]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_fault_is_one_warning_and_neither_the_search_nor_another_tracker_knows_of_it(
    is_there: bool, caplog: Any
) -> None:
    def make() -> Diary:
        if is_there:
            return Diary(fails=True)
        raise RuntimeError("its disk is full")

    seen: list[Progress] = []
    diary = Diary()
    tracked = Tracked(seen.append, {"broken": make, "diary": lambda: diary})
    for place in (*SEARCH, (2, "done")):
        tracked(progress(*place))
    assert len(seen) == len(SEARCH) + 1
    assert diary.rounds == [-1, 0, 1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "trackers: broken: its disk is full; nothing more is told to it until the next start"
    ]


def test_a_round_is_told_once_who_was_late_is_known_and_later_ones_after_it() -> None:
    diary = Diary()
    tracked = Tracked(lambda progress: None, {"diary": lambda: diary})
    told = []
    for place, late in [((1, "evaluate"), (0,)), ((2, "propose"), (0, 1)), ((2, "evaluate"), (1,)), ((2, "close"), ())]:
        tracked(replace(progress(*place), late=late))
        told.append(list(diary.rounds))
    assert told == [[-1], [-1], [-1, 0], [-1, 0, 1]]


def test_rounds_whose_late_ones_the_end_of_the_search_cut_off_are_told() -> None:
    diary = Diary()
    tracked = Tracked(lambda progress: None, {"diary": lambda: diary})
    tracked(replace(progress(2, "evaluate"), late=(1,)))
    tracked(replace(progress(2, "stopped"), late=(1,)))
    assert diary.rounds == [-1, 0, 1, 2]
