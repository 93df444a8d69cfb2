"""Arguments, options and the console that several commands have."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

import click

from evohpc.errors import storage_error

if TYPE_CHECKING:
    from rich.console import Console

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

run_argument: Decorator = click.argument("run", type=click.Path(path_type=Path))
config_argument: Decorator = click.argument("config", required=False, type=click.Path(path_type=Path))
site_option: Decorator = click.option(
    "--site", type=click.Path(path_type=Path), help="Profile of the Slurm site, see slurm/*.yaml."
)
overrides_option: Decorator = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the config, e.g. search.rounds=3."
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


class NewFile(click.File):
    """A file to write; the folder that it is to lie in is made, as for everything else that evohpc writes."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click."""
        from evohpc.files import make_folder

        if isinstance(value, str) and value != "-":
            try:
                make_folder(Path(value).parent)
            except OSError as error:
                raise storage_error(Path(value), error) from error
        return super().convert(value, param, ctx)


def command(*words: str | Path) -> str:
    """Return a command of evohpc that can be pasted into a shell."""
    return shlex.join(["evohpc", *map(str, words)])


def stdout_console() -> Console:
    """Return the console for tables; in a file or a pipe they are not cut to the width of a terminal, nor padded.

    A terminal that knows no size sets COLUMNS to 0, in which rich prints nothing.
    """
    from rich.console import Console

    if sys.stdout is None or sys.stdout.isatty():
        found = Console(highlight=False)
        return found if found.width > 0 else Console(highlight=False, width=80)
    columns = os.environ.get("COLUMNS", "")
    width = (int(columns) if columns.isdecimal() else 0) or 200
    return Console(file=cast("IO[str]", _Unpadded(sys.stdout)), highlight=False, width=width)


def unpadded(text: str) -> str:
    """Return lines without the blanks at their ends, which make a table's rows equally long."""
    return re.sub(" +$", "", text, flags=re.MULTILINE)


class _Unpadded:
    """A file that is given whole lines, and gets them unpadded."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write a whole number of lines."""
        self._file.write(unpadded(text))
        return len(text)
