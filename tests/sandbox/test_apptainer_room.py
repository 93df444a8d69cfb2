"""What a container has of a stage, and that nothing of it stays for the next one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from evohpc.sandbox.apptainer_room import Room
from evohpc.sandbox.base import Limits, Stage

LIMITS = Limits(wall_s=1, memory_bytes=1, disk_bytes=1, log_bytes=1)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """Data of a run, and a candidate's own files."""
    for name in ("data", "candidate.py", "weights/00000", "weights/00001"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.fixture
def room(given: Path) -> Iterator[Room]:
    made = Room([given / "data", given / "there-is-no-such-file"])
    yield made
    made.remove()


def stage(given: Path) -> Stage:
    inputs = {name: given / name for name in ("data", "candidate.py", "weights")}
    return Stage("an.entry", b"order", inputs, given / "out", LIMITS, threads=1, hidden=("a.module",))


def seen(room: Room) -> dict[str, Path]:
    """The folders of this host that the container has as IN and OUT, and all that is bound in IN."""
    return {bind.target: bind.source for bind in room.binds([]) if bind.target.startswith(("/in", "/out"))}


def test_a_stage_has_its_inputs_and_an_empty_folder(room: Room, given: Path) -> None:
    with room.furnished(stage(given)) as launch:
        inside = seen(room)["/in"] / "stage"
        assert (inside / "order.json").read_bytes() == b"order"
        assert (inside / "candidate.py").read_text() == "candidate.py"
        assert {path.read_text() for path in (inside / "weights").iterdir()} == {"weights/00000", "weights/00001"}
        assert os.readlink(inside / "data") == launch.readable[0] == "/in/shared/0"
        assert seen(room)["/in/shared/0"] == given / "data"
        assert list((seen(room)["/out"] / "stage").iterdir()) == []
        assert (launch.inputs, launch.out, launch.hidden) == ("/in/stage", "/out/stage", ("a.module",))


def test_what_it_leaves_is_out_of_the_container(room: Room, given: Path) -> None:
    with room.furnished(stage(given)):
        (seen(room)["/out"] / "stage" / "left").write_text("by the stage")
    assert (given / "out" / "left").read_text() == "by the stage"
    assert list(seen(room)["/out"].iterdir()) == []
    assert [path.name for path in seen(room)["/in"].iterdir()] == ["shared"]
    assert [path.name for path in sorted((given / "weights").iterdir())] == ["00000", "00001"]


def test_so_it_is_if_it_breaks(room: Room, given: Path) -> None:
    with pytest.raises(RuntimeError, match="broken"), room.furnished(stage(given)):
        raise RuntimeError("broken")
    assert (given / "out").is_dir()
    assert list(seen(room)["/out"].iterdir()) == []


def test_it_goes_without_a_trace(given: Path) -> None:
    room = Room([given / "data"])
    room.remove()
    assert not any(path.exists() for path in seen(room).values() if path != given / "data")
    assert (given / "data").exists()


def test_where_no_second_name_is_possible_there_is_a_copy(
    room: Room, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError("on another file system")

    monkeypatch.setattr(os, "link", refuse)
    with room.furnished(stage(given)):
        assert (seen(room)["/in"] / "stage" / "candidate.py").read_text() == "candidate.py"
