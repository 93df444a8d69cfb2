"""The seed programs in a user's folder."""

from __future__ import annotations

from pathlib import Path

from evohpc.errors import ConfigError
from evohpc.files import is_utf8, read_input_text


def read_seeds(folder: Path) -> dict[str, str]:
    """Return the sources of the seed programs in a folder, by file name.

    Raises:
        ConfigError: there are none, or one is empty, not text, or named so that it would be left out.
    """
    if not folder.is_dir():
        raise ConfigError(f"seeds: {folder}: no such folder; it is the folder of the seed programs, *.py")
    if capitals := [path.name for path in sorted(folder.glob("[!.]*")) if path.suffix in (".PY", ".Py", ".pY")]:
        raise ConfigError(f"seeds: {folder / capitals[0]}: the name of a seed program ends in .py; rename it")
    sources = {path.name: _read(path) for path in sorted(folder.glob("[!.]*.py"))}
    if not sources:
        raise ConfigError(f"seeds: {folder} has no *.py file; it is the folder of the seed programs")
    return sources


def _read(path: Path) -> str:
    if not is_utf8(path):
        raise ConfigError(f"seeds: {path}: its name is not UTF-8, and becomes an id; rename it")
    try:
        source = read_input_text(path)
    except OSError as error:
        raise ConfigError(f"seeds: {path}: cannot read it: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"seeds: {path} is not UTF-8 text") from None
    if not source.strip():
        raise ConfigError(f"seeds: {path} is empty; write a program into it, or remove it")
    return source
