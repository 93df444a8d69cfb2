"""Arguments, options and the console that several commands have."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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


def command(*words: str | Path) -> str:
    """Return a command of evohpc that can be pasted into a shell."""
    return shlex.join(["evohpc", *map(str, words)])


def stdout_console() -> Console:
    """Return the console for tables; in a file or a pipe they are not cut to the width of a terminal."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout and sys.stdout.isatty() else 200)
