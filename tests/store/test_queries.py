"""What is asked of a database is found by its indexes: 100,000 candidates must not be read for ten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.rows import candidate, trained

from evohpc.messages import SEED_ROUND, Status
from evohpc.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "search.db", epoch=1)) as store:
        for round, names in ((SEED_ROUND, ("seed-x",)), (0, ("c", "a", "b")), (1, ("d",))):
            results = [trained(name, fitness=-float(i)) for i, name in enumerate(names)]
            store.add_candidates([candidate(name, round=round) for name in names])
            store.add_results(results)
            store.conclude(results)
        store.add_candidates([candidate("e", round=1, status=Status.SYNTAX), candidate("f", round=1)])
        yield store


def names(found: Iterator[object]) -> list[object]:
    return [getattr(each, "id", None) for each in found]


def test_candidates_by_round_and_status(store: Store) -> None:
    assert names(store.every()) == ["seed-x", "a", "b", "c", "d", "e", "f"]
    assert names(store.every(0)) == ["a", "b", "c"]
    assert names(store.every(1, [Status.SYNTAX, Status.PENDING])) == ["e", "f"]
    assert names(store.every(statuses=[Status.TRAINED])) == ["seed-x", "a", "b", "c", "d"]
    assert names(store.every(7)) == []


def test_scores_by_round(store: Store) -> None:
    assert [(score.id, score.round) for score in store.scores()] == [
        ("c", 0),
        ("d", 1),
        ("seed-x", SEED_ROUND),
        ("a", 0),
        ("b", 0),
    ]
    assert names(store.scores(0)) == ["c", "a", "b"]
    assert names(store.scores(7)) == []


def test_nodes_on_which_attempts_fail_again_and_again(store: Store) -> None:
    def attempts(host: str, *statuses: Status) -> None:
        first = len(store.results("a")) + 1
        store.add_results([
            trained("a", first + i, status=status, host=host, finished_at=f"2026-11-26T10:{first + i:02}:00+00:00")
            for i, status in enumerate(statuses)
        ])  # fmt: skip

    lost, good = Status.LOST, Status.TRAINED
    attempts("", lost, lost, lost)
    attempts("mended", lost, lost, lost, Status.TIMEOUT)
    attempts("taken", Status.PREEMPTED, Status.PREEMPTED, Status.PREEMPTED)
    attempts("bad", lost, good, Status.NODE_FAIL, Status.PREEMPTED, Status.CONTAINER_ERROR, lost)
    attempts("worse", lost, lost, lost, lost)
    attempts("seldom", good, lost, lost)
    assert [(node.name, node.faults) for node in store.faulty_nodes(3)] == [("worse", 4), ("bad", 3)]
    assert [node.name for node in store.faulty_nodes(2)] == ["seldom", "worse", "bad"]
    assert store.faulty_nodes(5) == []
    assert store.faulty_nodes(3)[0].last == store.results("a")[-4].finished_at


def test_counts_by_round(store: Store) -> None:
    found = store.counts_by_round()
    assert list(found) == [SEED_ROUND, 0, 1]
    assert found == {round: store.counts(round) for round in found}


def plans(store: Store, ask: Callable[[], object]) -> list[str]:
    """Return how SQLite goes about each statement of a question."""
    statements: list[str] = []
    store._db.conn.set_trace_callback(statements.append)
    ask()
    store._db.conn.set_trace_callback(None)
    return [step[3] for sql in statements for step in store._db.execute(f"EXPLAIN QUERY PLAN {sql}")]


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda store: next(store.scores()), "candidates_fitness"),
        (lambda store: next(store.scores(0)), "candidates_round"),
        (lambda store: store.entries(0), "candidates_round"),
        (lambda store: store.entries(0, Status.TRAINED), "candidates_round"),
        (lambda store: list(store.every(0, [Status.TRAINED, Status.PENDING])), "candidates_round"),
        (lambda store: store.pending(0), "candidates_round"),
        (lambda store: store.attempts(1), "candidates_round"),
        (lambda store: store.counts(0), "candidates_round"),
        (lambda store: store.counts_by_round(), "candidates_round"),
        (lambda store: store.known_hashes(["a", "b"]), "candidates_hash"),
        (lambda store: next(store.pool(), None), "pool_fitness"),
        (lambda store: store.last_round(), "candidates_round"),
    ],
)
def test_an_index_finds_it(store: Store, ask: Callable[[Store], object], index: str) -> None:
    found = plans(store, lambda: ask(store))
    assert index in found[0]
    assert not [step for step in found if step.startswith("SCAN") and "COVERING INDEX" not in step]


@pytest.mark.parametrize("ask", [lambda store: next(store.scores()), lambda store: next(store.pool(), None)])
def test_the_fittest_come_first_without_a_sort(store: Store, ask: Callable[[Store], object]) -> None:
    assert not [step for step in plans(store, lambda: ask(store)) if "TEMP B-TREE" in step]
