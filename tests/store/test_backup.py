"""Before a database of an older schema is migrated, a copy of it is kept; the database is one that 0.1.0 wrote."""

from __future__ import annotations

import os
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.paths import TESTS

from evohpc.errors import RunFolderError, StorageError
from evohpc.store import integrity, schema
from evohpc.store.store import Store

RUN = TESTS / "fixtures/runs_0.1.0/finished/run.tar.gz"
KEPT = "search.db.m001_initial.kept-{}"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The database of a finished search, as evohpc 0.1.0 left it."""
    path = tmp_path / "search.db"
    with tarfile.open(RUN) as archive:
        member = archive.extractfile("finished/search.db")
        assert member is not None
        path.write_bytes(member.read())
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evohpc whose schema has one column more."""
    monkeypatch.setattr(schema.migrations, "_migrations", list(schema.migrations._migrations))
    schema.migrations(name="m002_later")(add_a_column)


def add_a_column(db: Any) -> None:
    db.execute("ALTER TABLE candidates ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'")


def content(path: Path) -> list[str]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return list(connection.iterdump())


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def migrate(path: Path, epoch: int = 1000) -> None:
    with closing(Store(path, epoch=epoch)):
        assert any("'m002_later'" in line for line in content(path))


@pytest.mark.usefixtures("later")
def test_what_0_1_0_wrote_is_kept_before_it_is_migrated(old: Path) -> None:
    before = content(old)
    migrate(old)
    kept = old.with_name(KEPT.format(1))
    assert content(kept) == before
    assert "mood" in "".join(content(old))
    migrate(old, epoch=1001)
    assert files(old.parent) == ["search.db", kept.name]


def test_a_database_of_this_schema_is_not_copied(old: Path) -> None:
    Store(old, epoch=999).close()
    old.with_name(KEPT.format(1)).unlink()
    for epoch in (1000, 1001):
        Store(old, epoch=epoch).close()
    assert files(old.parent) == ["search.db"]


@pytest.mark.usefixtures("later")
def test_a_new_database_is_not_copied(tmp_path: Path) -> None:
    migrate(tmp_path / "search.db")
    assert files(tmp_path) == ["search.db"]


def test_the_copy_can_be_gone_on_with_by_the_evohpc_that_wrote_it(
    old: Path, later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(old)
    with monkeypatch.context() as patch:
        patch.setattr(schema.migrations, "_migrations", schema.migrations._migrations[:1])
        with pytest.raises(RunFolderError, match=r"written by a newer evohpc \(m002_\w+, m002_later\); use that one"):
            Store(old, epoch=1001)
        old.with_name(KEPT.format(1)).replace(old)
        with closing(Store(old, epoch=1001)) as store:
            assert store.counts()


@pytest.mark.usefixtures("later")
def test_what_a_killed_copy_left_is_removed(old: Path) -> None:
    old.with_name(".tmp-search.db.m001_initial-0af1").write_text("half of it")
    migrate(old)
    assert sorted(path.name for path in old.parent.iterdir() if path.name.startswith(".tmp-")) == []


@pytest.mark.usefixtures("later")
def test_no_earlier_copy_is_written_over(old: Path) -> None:
    earlier = old.with_name(KEPT.format(1))
    earlier.write_text("an earlier one")
    before = content(old)
    migrate(old)
    assert earlier.read_text() == "an earlier one"
    assert content(old.with_name(KEPT.format(2))) == before


@pytest.mark.usefixtures("later")
def test_a_migration_that_is_cut_short_keeps_one_copy_however_often(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(old)
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(schema.migrations._migrations[1], "fn", killed)  # the first that 0.1.0 lacks
            with pytest.raises(KeyboardInterrupt):
                Store(old, epoch=1000)
        assert content(old) == content(old.with_name(KEPT.format(1))) == before
    migrate(old)
    assert files(old.parent) == ["search.db", KEPT.format(1)]


def killed(db: Any) -> None:
    add_a_column(db)
    raise KeyboardInterrupt


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("step", ["fsync", "link"])
def test_where_no_copy_can_be_kept_nothing_is_migrated(old: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(old)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(StorageError, match="No space left on device; nothing is lost: free some space"):
            Store(old, epoch=1000)
    assert content(old) == before
    assert files(old.parent) == ["search.db"]
    migrate(old)
    assert content(old.with_name(KEPT.format(1))) == before


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.usefixtures("later")
def test_a_copy_that_is_not_sound_stops_the_migration(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses_copies(connection: sqlite3.Connection, path: Path) -> None:
        if path.name.startswith(".tmp-"):
            raise integrity.damaged(path, "a page of it is torn")

    before = content(old)
    monkeypatch.setattr(integrity, "check_pages", refuses_copies)
    with pytest.raises(RunFolderError, match="a page of it is torn"):
        Store(old, epoch=1000)
    assert content(old) == before
    assert files(old.parent) == ["search.db"]


@pytest.mark.usefixtures("later")
def test_what_a_killed_writer_left_half_done_is_in_neither(old: Path, tmp_path: Path) -> None:
    """A copy of the file alone, without SQLite, would have it."""
    before = content(old)
    torn = tmp_path / "torn" / "search.db"
    torn.parent.mkdir()
    with closing(sqlite3.connect(old, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size=1")  # so that pages reach the file before the commit
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE candidates SET source = source || source || source")
        for name in ("search.db", "search.db-journal"):
            torn.with_name(name).write_bytes(old.with_name(name).read_bytes())
        writer.execute("ROLLBACK")
    assert torn.read_bytes() != old.read_bytes()
    migrate(torn)
    assert content(torn.with_name(KEPT.format(1))) == before
