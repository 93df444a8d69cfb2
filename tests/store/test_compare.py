"""What two databases of one run have in common, and what must not differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.rows import candidate, trained

from evohpc.errors import RunFolderError
from evohpc.messages import Status
from evohpc.store import compare
from evohpc.store.store import TABLES, Store


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    with closing(Store(tmp_path / "a #1?.db", epoch=1)) as one, closing(Store(tmp_path / "b.db", epoch=1)) as other:
        yield one, other


def fill(store: Store, *names: str, round: int = 0) -> None:
    results = [trained(name, fitness=-float(i)) for i, name in enumerate(names)]
    store.add_candidates([candidate(name, round=round) for name in names])
    store.add_results(results)
    store.conclude(results)
    store.add_to_pool(round, results)
    store.close_round(round, names[:1], names[:1], names[:1])


def change(store: Store, statement: str) -> None:
    with store.write():
        store._db.execute(statement)


def test_equal_is_what_has_the_same_rows(stores: tuple[Store, Store]) -> None:
    one, other = stores
    assert compare.equals(one, other)
    fill(one, "a", "b")
    assert not compare.equals(one, other)
    assert not compare.equals(other, one)
    fill(other, "a", "b")
    assert compare.equals(one, other)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE candidates SET source = 'other' WHERE id = 'a'",
        "UPDATE candidates SET fitness = NULL WHERE id = 'a'",
        "UPDATE results SET metrics = '{}' WHERE candidate_id = 'b'",
        "UPDATE pool SET fitness = -9.0",
        "UPDATE survivors SET candidate_id = 'b'",
        *(f"DELETE FROM {table}" for table in TABLES if table != "candidates"),
    ],
)
def test_one_cell_or_row_makes_a_difference(stores: tuple[Store, Store], statement: str) -> None:
    for store in stores:
        fill(store, "a", "b")
    change(stores[1], statement)
    assert not compare.equals(*stores)
    assert not compare.equals(stores[1], stores[0])


def test_what_is_missing_is_counted_by_table(stores: tuple[Store, Store]) -> None:
    one, other = stores
    fill(one, "a")
    fill(other, "a", "b")
    fill(other, "c", "d", round=1)
    missing = {"candidates": 3, "results": 3, "survivors": 1, "closed_rounds": 1, "late_candidates": 1}
    assert compare.missing(one, other) == compare.check_against_copy(one, other) == missing
    assert compare.missing(other, one) == compare.check_against_copy(other, one) == {}


def test_a_pending_candidate_may_have_its_outcome(stores: tuple[Store, Store]) -> None:
    live, copy = stores
    copy.add_candidates([candidate("a"), candidate("b")])
    fill(live, "a", "b")
    assert compare.check_against_copy(live, copy) == {}
    with pytest.raises(RunFolderError, match=r"damaged: candidates 'a' is not what .*a #1\?\.db says"):
        compare.check_against_copy(copy, live)


@pytest.mark.parametrize("statement", ["SET tokens = 1", "SET source = ''", "SET code_hash = 'x'"])
def test_all_else_of_a_pending_candidate_stays(stores: tuple[Store, Store], statement: str) -> None:
    for store in stores:
        store.add_candidates([candidate("a"), candidate("b")])
    change(stores[0], f"UPDATE candidates {statement} WHERE id = 'b'")
    with pytest.raises(RunFolderError, match="damaged: candidates 'b' is not what"):
        compare.check_against_copy(*stores)


@pytest.mark.parametrize(
    "differ",
    [
        lambda store: change(store, "UPDATE results SET error = 0.25 WHERE candidate_id = 'a'"),
        lambda store: change(store, f"UPDATE candidates SET status = '{Status.TIMEOUT}' WHERE id = 'a'"),
        lambda store: change(store, "UPDATE survivors SET candidate_id = 'b'"),
    ],
)
def test_what_is_final_must_not_differ(stores: tuple[Store, Store], differ: Callable[[Store], None]) -> None:
    for store in stores:
        fill(store, "a", "b")
    differ(stores[0])
    with pytest.raises(RunFolderError, match="is not what"):
        compare.check_against_copy(*stores)


def test_both_less_and_more_is_another_search(stores: tuple[Store, Store]) -> None:
    fill(stores[0], "a", "c")
    fill(stores[1], "a", "b")
    change(stores[0], "DELETE FROM pool")
    with pytest.raises(RunFolderError, match=r"some of the candidates of .*b\.db are not in it, but others are"):
        compare.check_against_copy(*stores)


@pytest.mark.parametrize("name", TABLES)
def test_rows_find_each_other_by_their_key(stores: tuple[Store, Store], name: str) -> None:
    """Not by going through one table for each row of the other."""
    with stores[0].beside(stores[1]) as connection:
        table = compare._Table(connection, name)
        for pairs in (table.theirs, table.ours):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {pairs}")]
            assert [step.split()[0] for step in plan] == ["SCAN", "SEARCH"], plan


def test_a_copy_by_an_evohpc_that_knew_of_none_late_says_the_same_until_someone_is(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "live.db", epoch=1)) as live, closing(Store(tmp_path / "old.db", epoch=1)) as old:
        for store in (live, old):
            fill(store, "a", "b")
            change(store, "DELETE FROM late_candidates")
        change(old, "DROP TABLE late_candidates")
        assert compare.equals(live, old)
        assert compare.equals(old, live)
        assert compare.missing(live, old) == compare.check_against_copy(live, old) == {}
        assert not old.late(0)
        assert not old.rows("late_candidates")
        assert not old.rounds_with_late()
        assert old.count("late_candidates") == 0
        live.close_round(0, [], [], ["b"])
        assert not compare.equals(live, old)
        assert not compare.equals(old, live)
