"""Modules that a stage must be able neither to import nor to read: where they lie, and what may be read around them.

Landlock only allows, and what it allows of a folder it allows of all beneath. So around a hidden file, each neighbour
is named by itself.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from evohpc.sandbox import landlock


def places(modules: Collection[str], roots: Collection[Path]) -> frozenset[Path]:
    """Return the files and folders of modules, in source and compiled, wherever they can be imported from.

    Args:
        modules: dotted names; one that is not installed has no places.
        roots: folders to look in, besides those that this process imports from.

    Raises:
        RuntimeError: a module has been imported by this process, where no file system can hide it any more.
    """
    if loaded := [name for name in modules if name in sys.modules]:
        raise RuntimeError(f"{loaded[0]} is to be hidden, and was imported before")
    return frozenset(place.resolve() for name in modules for place in _places(name, roots))


def rules(root: Path, hidden: Collection[Path], seen: Collection[Path] = ()) -> Iterator[tuple[Path, int]]:
    """Yield Landlock rules by which all at or beneath a path can be read, but for what is hidden."""
    resolved = root.resolve()
    if resolved in seen or any(resolved.is_relative_to(place) for place in hidden):
        return
    if not any(place.is_relative_to(resolved) for place in hidden):
        yield root, landlock.READ
        return
    yield root, landlock.LIST
    for child in root.iterdir():
        yield from rules(child, hidden, (*seen, resolved))


def _places(name: str, roots: Collection[Path]) -> Iterator[Path]:
    top, *rest = name.split(".")
    folders = [*roots, *(Path(entry) for entry in sys.path if entry)]
    bases = [folder.joinpath(top) for folder in folders]
    if (spec := importlib.util.find_spec(top)) is not None:  # wherever the finder of an editable installation looks
        bases += [Path(folder) for folder in spec.submodule_search_locations or ()]
        bases += [Path(spec.origin).with_suffix("")] if spec.origin and spec.submodule_search_locations is None else []
    for base in bases:
        module = base.joinpath(*rest)
        yield from (place for place in (module, *module.parent.glob(f"{module.name}.*")) if place.exists())
        yield from module.parent.glob(f"__pycache__/{module.name}.*")
