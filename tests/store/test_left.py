"""A database that is as it was left is opened without looking at it again; any other is looked at whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.rows import candidate, trained

from evohpc.errors import LeaseError, RunFolderError
from evohpc.store import integrity, left
from evohpc.store.store import Store

Looked = list[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search.db"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return tmp_path / "snapshots" / "search.db"


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    """Return the files whose pages were looked at, as it grows."""
    files, check = Looked(), integrity.check_pages

    def noted(connection: sqlite3.Connection, path: Path) -> None:
        files.append(path.name)
        check(connection, path)

    monkeypatch.setattr(integrity, "check_pages", noted)
    return files


def leave(path: Path, snapshot: Path, *names: str, epoch: int = 1) -> None:
    """Open, enter trained candidates, and leave as a driver does."""
    with closing(Store(path, epoch=epoch)) as store:
        store.add_candidates([candidate(name) for name in names])
        store.add_results([trained(name) for name in names])
        store.conclude([trained(name) for name in names])
        store.snapshot(snapshot)
        store.leave(snapshot)


def test_what_is_as_it_was_left_is_not_looked_at_again(path: Path, snapshot: Path, looked: Looked) -> None:
    leave(path, snapshot, "a", "b")
    made, before = snapshot.stat(), list(looked)
    for epoch in (2, 3):  # the second time after a driver that changed nothing but the epoch
        with closing(Store(path, epoch=epoch)) as store:
            assert store.is_told_by(snapshot)
            store.snapshot(snapshot)
            store.leave(snapshot)
    assert looked == before
    assert snapshot.stat() == made


def change_a_letter(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"source of a", b"source of A"))


def edit(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE candidates SET tokens = 41")


def lose_the_note(path: Path) -> None:
    left.path_of(path).unlink()


def note_another_thing(path: Path) -> None:
    left.path_of(path).write_text('{"database": 1, "snapshot": 2}')


def note_nothing(path: Path) -> None:
    left.path_of(path).write_text("[]")


def tear_the_note(path: Path) -> None:
    left.path_of(path).write_bytes(left.path_of(path).read_bytes()[:-5])


def leave_a_journal(path: Path) -> None:
    path.with_name("search.db-journal").write_bytes(b"\0" * 512)


@pytest.mark.parametrize(
    "change",
    [change_a_letter, edit, lose_the_note, tear_the_note, note_another_thing, note_nothing, leave_a_journal],
)
def test_anything_else_is_looked_at_whole(
    path: Path, snapshot: Path, looked: Looked, change: Callable[[Path], None]
) -> None:
    leave(path, snapshot, "a", "b")
    looked.clear()
    change(path)
    with closing(Store(path, epoch=2)) as store:
        assert looked == ["search.db"]
        assert not store.is_told_by(snapshot)


def test_damage_that_leaves_the_note_alone_is_refused(path: Path, snapshot: Path) -> None:
    leave(path, snapshot, *map(str, range(50)))
    path.write_bytes(path.read_bytes().replace(b"source of 7", b"source of \xff"))
    with pytest.raises(RunFolderError, match="UTF-8"):
        Store(path, epoch=2)


def test_what_changed_since_the_snapshot_is_not_said_to_be_left(path: Path, snapshot: Path, looked: Looked) -> None:
    leave(path, snapshot, "a")
    with closing(Store(path, epoch=2)) as store:
        store.add_candidates([candidate("b")])
        assert not store.is_told_by(snapshot)
        store.leave(snapshot)
    assert left.noted_copy(path) is None
    looked.clear()
    Store(path, epoch=3).close()
    assert looked == ["search.db"]


@pytest.mark.parametrize("damage", [lambda data: data[:-1] + b"!", lambda data: b"", lambda data: data[:60]])
def test_a_snapshot_that_is_damaged_or_gone_is_made_again(
    path: Path, snapshot: Path, damage: Callable[[bytes], bytes]
) -> None:
    leave(path, snapshot, "a")
    written = snapshot.read_bytes()
    with closing(Store(path, epoch=1)) as store:
        snapshot.write_bytes(damage(written))
        assert not store.is_told_by(snapshot)
        store.snapshot(snapshot)
        assert snapshot.read_bytes() == written
        snapshot.unlink()
        store.snapshot(snapshot)
        assert snapshot.read_bytes() == written


def test_the_snapshot_of_another_time_does_not_tell(path: Path, snapshot: Path, tmp_path: Path) -> None:
    leave(path, snapshot, "a")
    earlier = snapshot.read_bytes()
    leave(path, snapshot, "b", epoch=2)
    snapshot.write_bytes(earlier)
    with closing(Store(path, epoch=3)) as store:
        assert not store.is_told_by(snapshot)


def test_a_driver_that_was_replaced_notes_nothing(path: Path, snapshot: Path) -> None:
    with closing(Store(path, epoch=1)) as store:
        store.snapshot(snapshot)
        with closing(Store(path, epoch=2)) as successor:
            successor.add_candidates([candidate("a")])
            with pytest.raises(LeaseError):
                store.leave(snapshot)
    assert not left.path_of(path).exists()
