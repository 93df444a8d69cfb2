"""Folders of this host that are IN and OUT of a candidate's container, furnished for one stage after the other.

Binds are made when a container starts, so what all candidates of a run share is bound then. The rest comes and goes on
this side, and a stage finds nothing there of those before it: not even a name, which Landlock would not hide.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evohpc.sandbox import apptainer_command, removal
from evohpc.sandbox.apptainer_command import IN, OUT, PACKAGE, Bind
from evohpc.sandbox.base import Stage
from evohpc.sandbox.fork_server import Launch

_NOTHING, _SHARED, _STAGE = "nothing", "shared", "stage"
"""An empty folder; and folders in IN: what is bound, and what a stage has as IN. In OUT, the last is a stage's OUT."""


class Room:
    """Folders for one container. `remove` them when it is gone."""

    def __init__(self, shared: Sequence[Path]) -> None:
        """`shared`: files of this host that stages may ask for, and that stay as they are."""
        self._folder = Path(tempfile.mkdtemp(prefix="evohpc-room-")).resolve()
        self._inputs, self._out = _folders(self._folder)
        self._shared = [path.resolve() for path in shared if path.exists()]
        (self._inputs / _SHARED).mkdir(parents=True)
        self._out.mkdir()
        (self._folder / _NOTHING).mkdir()
        for name in _names(self._shared).values():
            (self._inputs / name).touch()  # to be bound over

    def binds(self, more: Sequence[str]) -> list[Bind]:
        """Return what the container sees of the host; see `binds`."""
        return binds(self._folder, self._shared, more)

    @contextmanager
    def furnished(self, stage: Stage) -> Iterator[Launch]:
        """Have a stage's inputs and its OUT in the container for a while."""
        inputs, out = self._inputs / _STAGE, self._out / _STAGE
        try:
            inputs.mkdir()
            (inputs / "order.json").write_bytes(stage.order)
            bound = [self._place(path.resolve(), inputs / name) for name, path in stage.inputs.items()]
            stage.out.rename(out)
            readable = tuple(f"{IN}/{name}" for name in bound if name)
            yield Launch.of(stage, f"{IN}/{_STAGE}", readable, f"{OUT}/{_STAGE}")
        finally:
            if out.exists():
                out.rename(stage.out)
            shutil.rmtree(inputs, ignore_errors=True)

    def remove(self) -> None:
        """Remove the folders."""
        removal.remove(self._folder)

    def _place(self, source: Path, target: Path) -> str:
        """Put an input in its place; return the name in IN of what is bound for it, if that is how it comes there."""
        if name := _names(self._shared).get(source, ""):
            target.symlink_to(f"{IN}/{name}")
        elif source.is_dir():
            shutil.copytree(source, target, copy_function=_link)
        else:
            _link(source, target)
        return name


def binds(folder: Path, shared: Sequence[Path], more: Sequence[str]) -> list[Bind]:
    """Return what a container sees of the host.

    Args:
        folder: of a room.
        more: binds of the site.
    """
    inputs, out = _folders(folder)
    files = {name: path for path, name in _names(shared).items()}
    own = apptainer_command.binds(inputs, files, out, PACKAGE, more)
    return [*apptainer_command.over_memory(folder / _NOTHING), *own]


def _folders(folder: Path) -> tuple[Path, Path]:
    """Return what becomes IN and OUT."""
    return folder / "in", folder / "out"


def _names(shared: Sequence[Path]) -> dict[Path, str]:
    """Return the name in IN of what is bound."""
    return {path: f"{_SHARED}/{number}" for number, path in enumerate(shared)}


def _link(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, or where that cannot be, a copy: the container has it read-only."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
