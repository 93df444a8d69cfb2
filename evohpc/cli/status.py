"""How far a search is: status, once or again and again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from evohpc.cli.shared import json_option, run_argument, stdout_console, unpadded
from evohpc.cli.signals import INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from evohpc.report.reader import Reading

T = TypeVar("T")


@click.command(
    epilog="""\b
Examples:
  evohpc status runs/first
  evohpc status runs/first --watch                        until it is over; Ctrl-C ends only the watching
  evohpc status runs/first --watch --json                 one line for each change"""
)
@run_argument
@click.option("--watch", is_flag=True, help="Show it again at each change, until the search is over.")
@click.option("--every", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds between looks.")
@json_option
def status(run: Path, watch: bool, every: float, as_json: bool) -> None:
    """Show how far a search is.

    Works while it runs, when its driver is dead, and of a copy of its folder.
    """
    if watch:
        _watch(run, every, as_json=as_json)
        return
    from evohpc.report.reader import Reading

    with Reading(run) as reading:
        if as_json:
            click.echo(json.dumps(reading.status(), indent=1))
            return
        console = stdout_console()
        _print(reading, console)
        click.echo(f"next: {reading.advice()}", err=True)


COMMANDS = (status,)


def _shown(reading: Reading, console: Console) -> Iterator[RenderableType]:
    """Yield what people are shown."""
    from rich.text import Text

    from evohpc.report import tables

    for name, value in reading.headlines():
        yield Text(f"{name:10}{value}", overflow="fold")
    rounds = partial(tables.rounds_table, reading.store, reading.task, reading.error_below)
    whole = rounds()
    needed = console.measure(whole, options=console.options.update(max_width=1000)).maximum
    yield rounds(brief=True) if needed > console.width else whole
    yield tables.best_table(reading.best(5), reading.task)
    yield tables.sentence(reading.store.counts())
    if fitter := reading.not_counted():
        yield Text(fitter)


def _print(reading: Reading, console: Console) -> None:
    from rich.text import Text

    for part in _shown(reading, console):
        console.print(part, soft_wrap=isinstance(part, Text))


def _watch(run: Path, every: float, *, as_json: bool) -> None:
    """Show a search at each change until it is over, or the user has seen enough."""
    console = stdout_console()
    try:
        if as_json:
            _follow(run, every, lambda reading: json.dumps(reading.status()), click.echo)
        elif not console.is_terminal:
            _follow(run, every, lambda reading: _captured(reading, console), click.echo)
        else:
            _redraw(run, every, console)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _redraw(run: Path, every: float, console: Console) -> None:
    from rich.console import Group
    from rich.live import Live

    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        _follow(run, every, lambda reading: Group(*_shown(reading, console)), partial(live.update, refresh=True))


def _captured(reading: Reading, console: Console) -> str:
    with console.capture() as captured:
        _print(reading, console)
    return unpadded(captured.get())


def _follow(run: Path, every: float, show: Callable[[Reading], T], put: Callable[[T], object]) -> None:
    """Look at a search again and again; put what it shows wherever that has changed."""
    from evohpc.report.reader import Reading, has_begun

    last: T | None = None
    while True:
        if has_begun(run):
            with Reading(run) as reading:
                shown, is_over = show(reading), reading.is_over
            if shown != last:
                put(shown)
                last = shown
            if is_over:
                return
        time.sleep(every)
