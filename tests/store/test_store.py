import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.rows import candidate, trained

from evohpc.errors import LeaseError, RunFolderError, StorageError
from evohpc.messages import SEED_ROUND, Isolation, Result, Status
from evohpc.store import integrity, schema
from evohpc.store.rows import Entry
from evohpc.store.store import TABLES, Store


def result(name: str, attempt: int = 1, fitness: float | None = -1.0, **changes: Any) -> Result:
    machine = {"seconds": {"total": 1.5}, "isolation": Isolation.CONFINED, "host": "n1", "versions": {"torch": "2"}}
    return trained(name, attempt, fitness=fitness, **{**machine, **changes})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path, epoch=1)
    yield store
    store.close()


def fill(store: Store, *names: str, round: int = 0) -> None:
    """Enter trained candidates, the first one the fittest."""
    results = [result(name, fitness=-float(i)) for i, name in enumerate(names)]
    store.add_candidates([candidate(name, round=round) for name in names])
    store.add_results(results)
    store.conclude(results)
    store.add_to_pool(round, results)


def tables(store: Store) -> dict[str, list[dict[str, Any]]]:
    return {table: store.rows(table) for table in TABLES}


def ids(entries: list[Entry]) -> list[str]:
    return [entry.candidate.id for entry in entries]


def test_rows_come_back_as_they_went_in(store: Store) -> None:
    refused = candidate("b", status=Status.SYNTAX, code_hash="", detail="line 1: ü")
    store.add_candidates([candidate("a"), refused])
    store.add_results([result("a")])
    assert store.entries(0) == [Entry(candidate("a"), None), Entry(refused, None)]
    store.conclude([result("a")])
    evaluated = Entry(candidate("a", status=Status.TRAINED), result("a"))
    assert store.entry("a") == evaluated
    assert store.entry("z") is None
    assert store.entries(0, Status.TRAINED) == [evaluated]
    assert store.results("a") == [result("a")]


def test_a_candidate_is_entered_once(store: Store) -> None:
    store.add_candidates([candidate("a")])
    store.add_candidates([candidate("a", detail="other"), candidate("b")])
    assert [e.candidate.detail for e in store.entries(0)] == ["", ""]


def test_an_attempt_counts_once_and_the_first_outcome_for_ever(store: Store) -> None:
    store.add_candidates([candidate("a")])
    for fitness in (-1.0, -2.0):
        store.add_results([result("a", fitness=fitness)])
        store.conclude(store.results("a"))
    store.add_results([result("a", 2, -9.0)])
    store.conclude([result("a", 2, -9.0)])
    assert [r.fitness for r in store.results("a")] == [-1.0, -9.0]
    entry = store.entry("a")
    assert entry is not None
    assert entry.fitness == -1.0


def test_a_result_of_an_unknown_candidate_is_refused(store: Store) -> None:
    with pytest.raises(RunFolderError, match="FOREIGN KEY"):
        store.add_results([result("a")])
    assert store.rows("results") == []


def test_pending_candidates_and_their_attempts(store: Store) -> None:
    store.add_candidates([candidate("a"), candidate("b"), candidate("c"), candidate("d", round=1)])
    lost = [result("b", n, None, status=Status.LOST) for n in (1, 2, 10)]
    store.add_results([*lost, result("a")])
    store.conclude([result("a")])
    assert store.pending(0) == ["b", "c"]
    assert store.attempts(0) == {"b": lost}


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    store.add_candidates([candidate("a")])
    before = tables(store)

    def fail() -> None:
        with store.write():
            fill(store, "b", "c")
            store.close_round(0, ["b"], ["b"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert tables(store) == before
    fill(store, "b")
    assert list(store.pool()) == ["b"]


def test_the_best_of_all_rounds_and_ties_by_id(store: Store) -> None:
    fill(store, "m", "b", "c")
    fill(store, "a", round=1)
    fill(store, "seed-x", round=SEED_ROUND)
    assert [score.id for score in store.scores()] == ["a", "m", "seed-x", "b", "c"]
    assert ids(list(store.every())) == ["seed-x", "b", "c", "m", "a"]
    assert store.last_round() == 1


def test_the_pool_by_fitness_and_round(store: Store) -> None:
    assert list(store.pool()) == []
    fill(store, "b", "a")
    fill(store, "c", round=1)
    assert list(store.pool()) == ["b", "c", "a"]
    assert list(store.pool(0)) == ["b", "a"]
    assert list(store.pool(1)) == ["c"]


@pytest.mark.parametrize("leaving", [["b", "a"], []])
def test_a_closed_round_keeps_its_survivors_and_lets_go_who_leaves(store: Store, leaving: list[str]) -> None:
    fill(store, "a", "b", "c")
    assert not store.is_closed(0)
    for _ in range(2):
        store.close_round(0, ["b", "a"], leaving)
    assert store.is_closed(0)
    assert ids(store.survivors(0)) == ["b", "a"]
    assert store.survivors(1) == []
    assert sorted(store.pool()) == (["c"] if leaving else ["a", "b", "c"])
    assert store.rows("closed_rounds") == [{"round": 0}]


def test_who_was_late_is_named_by_the_round_that_closed_without_it(store: Store) -> None:
    fill(store, "a", "b", round=0)
    fill(store, "c", round=1)
    assert not store.late(0)
    assert not store.rounds_with_late()
    for _ in range(2):
        store.close_round(0, [], [], ["b", "a"])
        store.close_round(1, [], [], ["c", "b"])
        store.close_round(2, [], [])
    assert [store.late(round) for round in range(3)] == [["a", "b"], ["b", "c"], []]
    assert store.rounds_with_late() == [0, 1]


def test_known_hashes_name_the_first_that_is_no_duplicate(store: Store) -> None:
    store.add_candidates(
        [candidate("b", code_hash="h"), candidate("a", round=1, status=Status.DUPLICATE, code_hash="h")]
    )
    store.add_candidates([candidate("c", status=Status.SYNTAX, code_hash="")])
    assert store.known_hashes(["h", "", "x", "h"]) == {"h": "b"}


def test_counts(store: Store) -> None:
    fill(store, "seed-x", round=SEED_ROUND)
    fill(store, "a", "b")
    store.add_candidates([candidate("c", round=1), candidate("d", round=1, status=Status.SYNTAX)])
    assert store.counts() == {Status.TRAINED: 2, Status.PENDING: 1, Status.SYNTAX: 1}
    assert store.counts(SEED_ROUND) == {Status.TRAINED: 1}


def test_every_table_can_be_read_in_key_order(store: Store) -> None:
    fill(store, "b", "a")
    store.close_round(0, ["b", "a"], [], ["b", "a"])
    assert {table: [tuple(row.values())[:2] for row in store.rows(table)] for table in TABLES} == {
        "candidates": [("a", 0), ("b", 0)],
        "results": [("a", 1), ("b", 1)],
        "pool": [("a", 0), ("b", 0)],
        "survivors": [(0, 0), (0, 1)],
        "late_candidates": [(0, "a"), (0, "b")],
        "closed_rounds": [(0,)],
    }


def test_a_later_driver_fences_off_the_earlier_one(store: Store, path: Path) -> None:
    fill(store, "a")
    with closing(Store(path, epoch=2)) as successor:
        verbs: list[Callable[[], object]] = [
            lambda: store.add_candidates([candidate("z")]),
            lambda: store.conclude([result("a")]),
            lambda: store.close_round(0, [], []),
        ]
        for verb in verbs:
            with pytest.raises(LeaseError, match="another driver has taken over"):
                verb()
        successor.add_candidates([candidate("b")])
        assert ids(successor.entries(0)) == ["a", "b"]
    with pytest.raises(LeaseError):
        Store(path, epoch=1)


def test_the_last_epoch_is_known_to_who_is_no_driver_yet(store: Store, path: Path, tmp_path: Path) -> None:
    with closing(Store(path, epoch=7)):
        assert Store.last_epoch(path) == 7
    (tmp_path / "junk").write_text("junk")
    assert Store.last_epoch(tmp_path / "junk") == Store.last_epoch(tmp_path / "none") == 0


def test_the_fence_holds_within_a_transaction_that_waited(store: Store, path: Path) -> None:
    """The epoch is read under the write lock: who waited for it sees what the other one did."""
    with closing(Store(path, epoch=2)) as successor:
        with successor.write():
            pass
        with pytest.raises(LeaseError), store.write():
            raise AssertionError("must not get here")


def test_a_writer_takes_the_lock_before_it_reads(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "LOCK_TIMEOUT_S", 0.05)
    with closing(sqlite3.connect(path, timeout=0)) as other, store.write():
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT count(*) FROM candidates").fetchone() == (0,)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_LOCK, sqlite3.SQLITE_PROTOCOL])
def test_a_file_system_without_locks_is_named(path: Path, code: int) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    explained = schema.explained(path, error)
    assert isinstance(explained, StorageError)
    assert "its file system does not lock files (disk I/O error); nothing is lost" in str(explained)


def test_a_locked_database_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "LOCK_TIMEOUT_S", 0.05)
    with closing(Store(path, epoch=1)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match=f"{path}: another program keeps it locked; nothing is lost"):
            store.add_candidates([candidate("a")])
        other.execute("ROLLBACK")
        store.add_candidates([candidate("a")])
        assert store.pending(0) == ["a"]


def pragma(store: Store, name: str) -> Any:
    return store._db.execute(f"PRAGMA {name}").fetchone()[0]


def test_the_journal_is_safe_on_network_file_systems(store: Store, path: Path) -> None:
    assert pragma(store, "journal_mode") == "delete"
    assert pragma(store, "synchronous") == 3  # EXTRA
    assert pragma(store, "foreign_keys") == 1


def test_a_database_that_was_switched_to_wal_is_switched_back(path: Path) -> None:
    Store(path, epoch=1).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
    with closing(Store(path, epoch=1)) as store:
        assert pragma(store, "journal_mode") == "delete"


@pytest.mark.parametrize("pages", range(22, 40, 3))
def test_a_full_disk_loses_nothing_and_can_be_gone_on_from(store: Store, path: Path, pages: int) -> None:
    fill(store, "a")
    before = tables(store)
    limit = max(pages, pragma(store, "page_count"))
    store._db.execute(f"PRAGMA max_page_count={limit}")
    many = [candidate(f"c{i}", source="x" * 3000) for i in range(100)]

    def write() -> None:
        with store.write():
            fill(store, "b")
            store.add_candidates(many)

    with pytest.raises(StorageError, match=f"cannot write {path}: No space left on device; nothing is lost: free some"):
        write()
    assert tables(store) == before
    store._db.execute("PRAGMA max_page_count=100000")
    store.add_candidates(many)
    assert len(store.pending(0)) == 100
    assert pragma(store, "integrity_check") == "ok"


def test_a_snapshot_is_a_copy_that_stays_as_it_is(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "snapshots" / "search.db"
    fill(store, "a", "b")
    store.snapshot(target)
    with closing(Store.snapshot_reader(target)) as reader:
        fill(store, "c", round=1)
        assert reader.entries(0) == store.entries(0)
        assert reader.counts() == {Status.TRAINED: 2}
        store.snapshot(target)
        assert reader.counts() == {Status.TRAINED: 2}
    with closing(Store.snapshot_reader(target)) as reader:
        assert reader.counts() == {Status.TRAINED: 3}
    assert os.listdir(target.parent) == ["search.db"]


def test_a_snapshot_cut_short_leaves_the_last_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "snapshots" / "search.db"
    store.snapshot(target)
    fill(store, "a")
    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os if step == "fsync" else Path, step, lambda *args: full())
            with pytest.raises(StorageError, match=f"cannot write {target}: No space left"):
                store.snapshot(target)
        with closing(Store.snapshot_reader(target)) as reader:
            assert reader.last_round() is None
    store.snapshot(target)
    with closing(Store.snapshot_reader(target)) as reader:
        assert reader.last_round() == 0


def test_a_replaced_drivers_snapshot_does_not_take_the_place_of_its_successors(
    store: Store, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "snapshots" / "search.db"
    fill(store, "a")
    real = integrity.seal

    def stands_still(aside: Path) -> int:
        monkeypatch.setattr(integrity, "seal", real)
        with closing(Store(path, epoch=2)) as successor:
            fill(successor, "b", round=1)
            successor.snapshot(target)
        return real(aside)

    monkeypatch.setattr(integrity, "seal", stands_still)
    for _ in range(2):
        with pytest.raises(LeaseError, match="another driver has taken over"):
            store.snapshot(target)
        with closing(Store.snapshot_reader(target)) as reader:
            assert reader.counts() == {Status.TRAINED: 2}
    assert os.listdir(target.parent) == ["search.db"]


def full() -> None:
    raise OSError(28, "No space left on device")


def test_a_snapshots_path_may_hold_any_character(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "a #1?b%20 c" / "s.db"
    store.snapshot(target)
    Store.snapshot_reader(target).close()


def test_what_is_no_search_database_is_named_and_left_alone(path: Path) -> None:
    def garbage() -> None:
        path.write_bytes(b"not a database at all" * 100)

    def foreign() -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE candidates (x)")

    for make, reason in [(garbage, "file is not a database"), (foreign, "is the database of another program")]:
        path.unlink(missing_ok=True)
        make()
        before = path.read_bytes()
        ways: list[Callable[[], object]] = [lambda: Store(path, epoch=1), lambda: Store.snapshot_reader(path)]
        for opened in ways:
            with pytest.raises(RunFolderError, match=reason):
                opened()
        assert path.read_bytes() == before


def test_a_database_of_a_newer_evohpc_is_named(path: Path) -> None:
    Store(path, epoch=1).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE _sqlite_migrations SET name = 'm003_later' WHERE id = 2")
    with pytest.raises(RunFolderError, match=r"written by a newer evohpc \(m003_later\)"):
        Store(path, epoch=1)


@pytest.mark.parametrize("column", ["name", "applied_at", "migration_set"])
def test_a_list_of_migrations_whose_column_has_another_name_is_damaged(path: Path, column: str) -> None:
    """A flipped bit of the schema does that."""
    Store(path, epoch=1).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"ALTER TABLE _sqlite_migrations RENAME COLUMN {column} TO other")
    ways: list[Callable[[], object]] = [lambda: Store(path, epoch=1), lambda: Store.snapshot_reader(path)]
    for opened in ways:
        with pytest.raises(RunFolderError, match="`evohpc rebuild` makes it anew"):
            opened()


def test_a_missing_snapshot_is_named(path: Path) -> None:
    with pytest.raises(RunFolderError, match=f"{path}: no such database"):
        Store.snapshot_reader(path)
    assert not path.exists()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="unable to open database file"):
        Store(tmp_path / "none" / "search.db", epoch=1)


def test_a_creation_cut_short_is_finished(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(db: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(schema.migrations, "apply", killed)
        with pytest.raises(KeyboardInterrupt):
            Store(path, epoch=1)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "SCHEMA", schema.SCHEMA.replace("CREATE TABLE pool", "CREATE TALBE pool"))
        with pytest.raises(RunFolderError, match="syntax error"):
            Store(path, epoch=1)
    with closing(Store(path, epoch=1)) as store:
        assert list(store.pool()) == []
