import errno
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from evohpc import files
from evohpc.errors import StorageError
from evohpc.files import make_folder, write_atomic, write_once

Write = Callable[[Path, str | bytes], object]


@pytest.fixture(params=[write_atomic, write_once])
def write(request: pytest.FixtureRequest) -> Write:
    return cast(Write, request.param)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_written_with_its_folders_and_nothing_else(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "f.txt"
    write(path, "grün")
    assert path.read_bytes() == "grün".encode()
    assert names(path.parent) == {"f.txt"}


def test_a_file_that_was_taken_with_its_folder_at_once_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sync = tmp_path / "results", files.sync_folder
    folder.mkdir()

    def taken(path: Path) -> None:
        shutil.rmtree(path)
        sync(path)

    monkeypatch.setattr(files, "sync_folder", taken)
    assert files.write_once(folder / "a.json", "x")
    assert not folder.exists()


def test_atomic_replaces_and_once_does_not(tmp_path: Path) -> None:
    path = tmp_path / "f"
    assert write_once(path, "1") is True
    assert write_once(path, "2") is False
    assert path.read_text() == "1"
    write_atomic(path, "3")
    assert path.read_text() == "3"
    assert names(tmp_path) == {"f"}


def test_of_many_writers_exactly_one_wins(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda i: write_once(tmp_path / "f", str(i)), range(200)))
    assert (tmp_path / "f").read_text() == str(won.index(True))
    assert sum(won) == 1


def test_a_link_whose_answer_was_lost_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def lost(source: str, target: Any) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", lost)
    assert write_once(tmp_path / "f", "mine") is True
    monkeypatch.setattr(os, "link", link)
    assert write_once(tmp_path / "f", "other") is False


@pytest.mark.parametrize("step", ["fsync", "replace", "link"])
@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "make it writable"),
        (errno.EIO, "wait until the file system answers again"),
        (errno.ENAMETOOLONG, "give the run folder a shorter path"),
    ],
)
def test_a_refused_write_leaves_the_old_file_and_no_other(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int, advice: str
) -> None:
    path = tmp_path / "f"
    path.write_text("old")

    def refuse(*args: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, step, refuse)
    if (write, step) in [(write_atomic, "link"), (write_once, "replace")]:
        write(path, "new")  # does not take this step
        return
    with pytest.raises(StorageError) as error:
        write(path, "new")
    assert str(error.value) == (
        f"cannot write {path}: {os.strerror(code)}; nothing is lost: {advice}, then run the same command again"
    )
    assert path.read_text() == "old"
    assert names(tmp_path) == {"f"}


def test_a_killed_write_leaves_the_old_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_text("old")

    def die(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        write(path, "new")
    assert path.read_text() == "old"


def test_content_is_synced_before_its_name_and_the_name_before_the_return(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def noted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            calls.append(name)
            return real(*args)

        return call

    for name in ("fsync", "replace", "link"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    write(tmp_path / "f", "x")
    assert calls == ["fsync", "replace" if write is write_atomic else "link", "fsync"]


def test_new_folders_are_synced_into_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]


def test_a_folder_that_is_a_file_is_an_error_of_the_file_system(write: Write, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write(tmp_path / "a" / "f", "x")
