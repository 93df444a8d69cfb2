import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from support.rows import trained

from evohpc.driver import results
from evohpc.driver.results import pack, read_results
from evohpc.envelopes import seal
from evohpc.errors import RunFolderError, StorageError
from evohpc.files import write_atomic
from evohpc.messages import Result, Status, TaskInterface
from evohpc.run_folder import RoundDir

RUN = "run-1"
PRELUDE = "import torch.nn as nn\n"
TASK = TaskInterface("t", "Model", "class Model(nn.Module):", PRELUDE, ("torch",), "acc", largest_error=1)
SOURCES = {"a": "the source of a", "b": "the source of b"}
GOOD = "    def forward(self, x):\n        return x\n"


def result(name: str = "a", attempt: int = 1, **changes: Any) -> Result:
    digest = hashlib.sha256(SOURCES.get(name, "").encode()).hexdigest()
    return trained(name, attempt, **{"source_sha256": digest, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> RoundDir:
    return RoundDir(tmp_path / "000")


def put(folder: RoundDir, result: Result, run_id: str = RUN) -> Path:
    path = folder.result(result.candidate_id, result.attempt)
    write_atomic(path, seal(run_id, 1, result))
    return path


def read(folder: RoundDir, skip: Collection[str] = ()) -> dict[str, Result]:
    return dict(read_results(folder, RUN, SOURCES, TASK, skip))


def quarantined(folder: RoundDir) -> dict[str, str]:
    return {path.stem: path.read_text().strip() for path in sorted(folder.quarantine.glob("*.reason"))}


def test_results_are_read_in_order_of_name_and_only_once(folder: RoundDir) -> None:
    for name, attempt in [("b", 1), ("a", 2), ("a", 1)]:
        put(folder, result(name, attempt))
    assert list(read(folder)) == ["a.1.json", "a.2.json", "b.1.json"]
    assert list(read(folder, skip=["a.1.json", "b.1.json"])) == ["a.2.json"]
    assert read(folder)["a.2.json"] == result("a", 2)


def test_a_round_without_results_has_none(folder: RoundDir) -> None:
    assert read(folder) == {}


def test_files_under_way_and_others_are_left_alone(folder: RoundDir) -> None:
    for name in (".tmp-a.1.json-00ff", "a.1.log", "README"):
        write_atomic(folder.results / name, "{")
    assert read(folder) == {}
    assert len(os.listdir(folder.results)) == 3
    assert not folder.quarantine.exists()


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def forged(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"fitness":-50.0', b'"fitness":-49.0'))


def renamed(path: Path) -> None:
    path.rename(path.with_name("b.1.json"))


@pytest.mark.parametrize(
    ("written", "run_id", "damage", "name", "reason"),
    [
        (result(), RUN, torn, "a.1.json", "not JSON: torn or altered"),
        (result(), RUN, emptied, "a.1.json", "not JSON: torn or altered"),
        (result(), RUN, forged, "a.1.json", "its sha256 does not match: torn or altered"),
        (result(), "run-2", None, "a.1.json", "it belongs to run 'run-2', not 'run-1'"),
        (result(), RUN, renamed, "b.1.json", "it holds the result of a, attempt 1"),
        (result("c"), RUN, None, "c.1.json", "no such candidate was handed out in this round"),
        (result(source_sha256="00"), RUN, None, "a.1.json", "it was measured on another source than this candidate's"),
        (result(fitness=None), RUN, None, "a.1.json", "a trained candidate needs fitness"),
        (result(num_params=0), RUN, None, "a.1.json", "num_params is 0; it must be finite, and 1 or more"),
        (result(error=None), RUN, None, "a.1.json", "a trained candidate needs error"),
        (result(metrics={"loss": 0.5}), RUN, None, "a.1.json", "a trained candidate needs metrics['acc']"),
        (result(error=-0.1), RUN, None, "a.1.json", "error is -0.1; it must be from 0 to 1"),
        (result(error=-5.0), RUN, None, "a.1.json", "error is -5.0; it must be from 0 to 1"),
        (result(error=1.01), RUN, None, "a.1.json", "error is 1.01; it must be from 0 to 1"),
        (result(num_params=-3), RUN, None, "a.1.json", "num_params is -3; it must be finite, and 1 or more"),
        (result(num_params=2**63), RUN, None, "a.1.json", f"num_params is {2**63}; it must be finite, and 1 or more"),
        (result(attempt=0), RUN, None, "a.0.json", "attempt is 0; it must be finite, and 1 or more"),
        (
            result(seconds={"train": -1.0}),
            RUN,
            None,
            "a.1.json",
            "seconds['train'] is -1.0; it must be finite, and 0 or more",
        ),
        (result(status=Status.TIMEOUT), RUN, None, "a.1.json", "timeout has no fitness, and this has -50.0"),
        (result(status=Status.PENDING), RUN, None, "a.1.json", "pending is no outcome of an evaluation"),
        (result(status=Status.DUPLICATE), RUN, None, "a.1.json", "duplicate is no outcome of an evaluation"),
    ],
)
def test_what_cannot_be_trusted_is_quarantined_with_its_reason(
    folder: RoundDir, written: Result, run_id: str, damage: Callable[[Path], object] | None, name: str, reason: str
) -> None:
    path = put(folder, written, run_id)
    if damage:
        damage(path)
    content = (folder.results / name).read_bytes()
    put(folder, result("b", 7))
    assert list(read(folder)) == ["b.7.json"]
    assert quarantined(folder) == {name: reason}
    assert (folder.quarantine / name).read_bytes() == content
    assert os.listdir(folder.results) == ["b.7.json"]
    assert read(folder, skip=["b.7.json"]) == {}


def test_a_second_bad_file_of_the_same_name_does_not_hide_the_first(folder: RoundDir) -> None:
    for _ in range(3):
        torn(put(folder, result()))
        assert read(folder) == {}
    assert set(quarantined(folder)) == {"a.1.json", "a.1.json+", "a.1.json++"}


def test_a_good_result_may_follow_a_bad_one(folder: RoundDir) -> None:
    torn(put(folder, result()))
    assert read(folder) == {}
    put(folder, result())
    assert read(folder) == {"a.1.json": result()}


def test_a_quarantine_cut_short_is_done_again(folder: RoundDir, monkeypatch: pytest.MonkeyPatch) -> None:
    torn(put(folder, result()))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda self, target: killed())
        with pytest.raises(KeyboardInterrupt):
            read(folder)
    assert read(folder) == {}
    assert quarantined(folder) == {"a.1.json": "not JSON: torn or altered"}


def killed() -> None:
    raise KeyboardInterrupt


def test_a_file_that_cannot_be_read_now_is_read_later(folder: RoundDir, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, result())
    put(folder, result("b"))
    real = os.open

    def stale(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(path).name == "a.1.json":
            raise OSError(116, "Stale file handle")
        return real(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", stale)
        assert list(read(folder)) == ["b.1.json"]
    assert list(read(folder)) == ["a.1.json", "b.1.json"]


def test_a_full_disk_is_named_and_loses_nothing(folder: RoundDir, monkeypatch: pytest.MonkeyPatch) -> None:
    torn(put(folder, result()))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: full())
        with pytest.raises(StorageError, match="free some space"):
            read(folder)
    assert read(folder) == {}
    assert list(quarantined(folder)) == ["a.1.json"]


def full() -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture
def busy_round(folder: RoundDir) -> RoundDir:
    """A round with a file of every kind that is packed, and some that are not."""
    put(folder, result())
    write_atomic(folder.candidate("a"), "the source of a")
    write_atomic(folder.job("j"), "{}")
    write_atomic(folder.log("a", 1), "printed")
    write_atomic(folder.slurm / "j" / "0" / "out", "said")
    write_atomic(folder.results / ".tmp-a.2.json-ff", "{")
    os.utime(folder.log("a", 1), (0, 0))  # a zip cannot tell times before 1980
    write_atomic(folder.survivors, "[]")
    write_atomic(folder.request, "{}")
    return folder


PACKED = {"candidates/a.py", "jobs/j.json", "logs/a.1.log", "results/a.1.json", "slurm/j/0/out"}


def test_packing_leaves_one_archive_and_the_same_results(busy_round: RoundDir) -> None:
    pack(busy_round)
    pack(busy_round)
    assert sorted(os.listdir(busy_round.path)) == ["archive.zip", "request.json", "survivors.json"]
    with zipfile.ZipFile(busy_round.archive) as archive:
        assert set(archive.namelist()) == PACKED
        assert archive.read("candidates/a.py") == b"the source of a"
    assert read(busy_round) == {"a.1.json": result()}
    assert read(busy_round, skip=["a.1.json"]) == {}


def test_a_round_that_needed_no_folder_is_packed(tmp_path: Path) -> None:
    nothing = RoundDir(tmp_path / "rounds" / "seeds")  # all seeds were refused
    pack(nothing)
    assert nothing.archive.is_file()


def test_packing_nothing_is_fine(folder: RoundDir) -> None:
    folder.path.mkdir()
    pack(folder)
    assert read(folder) == {}


def test_what_a_job_removes_while_its_round_is_packed_is_not_missed(
    busy_round: RoundDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = zipfile.ZipFile.write

    def write_late(archive: zipfile.ZipFile, path: Path, name: str) -> None:
        path.unlink() if path.name == "a.py" else None
        write(archive, path, name)

    monkeypatch.setattr(zipfile.ZipFile, "write", write_late)
    pack(busy_round)
    with zipfile.ZipFile(busy_round.archive) as archive:
        assert set(archive.namelist()) == PACKED - {"candidates/a.py"}
        assert archive.testzip() is None


@pytest.mark.parametrize("step", ["write", "fsync", "link", "sync_folder", "rmtree 0", "rmtree 1", "rmtree 4"])
def test_packing_killed_anywhere_goes_on(busy_round: RoundDir, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    calls = [0]

    def rmtree(part: Path, ignore_errors: bool) -> None:
        if calls[0] == int(step[-1]):
            killed()
        calls[0] += 1
        real(part, ignore_errors=ignore_errors)

    real = shutil.rmtree
    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(zipfile.ZipFile, "write", lambda *args: killed())
        elif step == "fsync":
            patch.setattr(os, "fsync", lambda *args: killed())
        elif step == "link":
            patch.setattr(os, "link", lambda *args: killed())
        elif step == "sync_folder":
            patch.setattr(results, "sync_folder", lambda *args: killed())
        else:
            patch.setattr(shutil, "rmtree", rmtree)
        with pytest.raises(KeyboardInterrupt):
            pack(busy_round)
    assert read(busy_round) == {"a.1.json": result()}
    pack(busy_round)
    with zipfile.ZipFile(busy_round.archive) as archive:
        assert set(archive.namelist()) == PACKED
    assert read(busy_round) == {"a.1.json": result()}
    assert sorted(os.listdir(busy_round.path)) == ["archive.zip", "request.json", "survivors.json"]


def test_packing_on_a_full_disk_is_named_and_keeps_the_files(
    busy_round: RoundDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: full())
        with pytest.raises(StorageError, match=f"cannot write {busy_round.archive}: No space left"):
            pack(busy_round)
    assert not busy_round.archive.exists()
    assert read(busy_round) == {"a.1.json": result()}


def test_a_damaged_archive_is_named(busy_round: RoundDir) -> None:
    pack(busy_round)
    data = busy_round.archive.read_bytes()
    with zipfile.ZipFile(busy_round.archive) as archive:
        inside = archive.getinfo("results/a.1.json").header_offset + 60
    for damaged in (b"", data[: len(data) // 2], data[:inside] + b"\xff" * 40 + data[inside + 40 :]):
        busy_round.archive.write_bytes(damaged)
        with pytest.raises(RunFolderError, match=f"{busy_round.archive}: damaged"):
            read(busy_round)


def test_what_cannot_be_trusted_in_an_archive_is_left_out(busy_round: RoundDir) -> None:
    torn(put(busy_round, result("b")))
    pack(busy_round)
    assert list(read(busy_round)) == ["a.1.json"]
