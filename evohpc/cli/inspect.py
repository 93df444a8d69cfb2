"""Commands that list what a run holds, from its snapshot: list, show, export."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from evohpc.cli.shared import json_option, run_argument, stdout_console
from evohpc.errors import RunFolderError
from evohpc.messages import Status

if TYPE_CHECKING:
    from evohpc.store.rows import Entry


_FILE = click.File("w", encoding="utf-8", lazy=True)
"""Opened at the first write, so that a mistake in another argument does not empty a file that exists."""


@click.command("list")
@run_argument
@click.option("--round", "round", type=int, help="Only this round; -1 is that of the seeds.")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(list(map(str, Status))), help="Only these outcomes."
)
@click.option(
    "--best", type=click.IntRange(min=1), metavar="N", help="The N fittest with an error below search.error_threshold."
)
@json_option
def list_candidates(run: Path, round: int | None, statuses: tuple[str, ...], best: int | None, as_json: bool) -> None:
    """List candidates with their outcomes."""
    from evohpc.report import tables
    from evohpc.report.reader import Reading

    with Reading(run) as reading:
        chosen = tuple(map(Status, statuses))
        entries = reading.store.every(round, chosen) if best is None else reading.best(best, round, chosen)
        if as_json:
            for entry in entries:
                click.echo(tables.document(entry))
        else:
            stdout_console().print(tables.candidates_table(entries, reading.metric))


@click.command()
@run_argument
@click.argument("candidate_id")
@click.option("--source", "only_source", is_flag=True, help="Print the program only, as it is, e.g. into a file.")
@json_option
def show(run: Path, candidate_id: str, only_source: bool, as_json: bool) -> None:
    """Show one candidate: descent, results, program."""
    from evohpc.report import tables
    from evohpc.report.reader import Reading
    from evohpc.report.terminal import printable

    with Reading(run) as reading:
        entry = reading.candidate(candidate_id)
        if as_json:
            click.echo(tables.document(entry))
            return
        source = entry.candidate.source
        if not only_source:
            stdout_console().print(tables.details(entry, reading.store.results(entry.id)))
            click.echo()
            source = printable(source)
        # click takes escapes out of what goes to a pipe unless it is told that they are colours.
        click.echo(source, nl=not source.endswith("\n"), color=True)


@click.command(
    epilog="""\b
Examples:
  evohpc export runs/first --csv first.csv
  evohpc export runs/seed-* --csv all.csv                 one table of several searches
  evohpc export runs/first --jsonl - | head"""
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--csv", "csv_file", type=_FILE, help="Write a CSV file; - is stdout.")
@click.option("--jsonl", "jsonl_file", type=_FILE, help="Write one JSON document a line.")
def export(runs: tuple[Path, ...], csv_file: IO[str] | None, jsonl_file: IO[str] | None) -> None:
    """Write all candidates to a CSV or JSONL file.

    Of one search or several; with their results, and with those that were refused.
    """
    from evohpc.report import tables

    if csv_file is None and jsonl_file is None:
        raise click.UsageError("name a file: --csv FILE or --jsonl FILE")
    _check_distinct(runs)
    if csv_file is not None:
        columns = list({column: None for row in _rows(runs) for column in row})
        writer = csv.DictWriter(csv_file, columns, restval="")
        writer.writeheader()
        writer.writerows(_rows(runs))
    if jsonl_file is not None:
        for run_id, entry in _entries(runs):
            print(tables.document(entry, run=run_id), file=jsonl_file)


COMMANDS = (list_candidates, show, export)


def _check_distinct(runs: tuple[Path, ...]) -> None:
    """Refuse a search that is named twice, or a copy of its folder: its candidates would count twice."""
    from evohpc.report.reader import Reading

    seen: dict[str, Path] = {}
    for run in runs:
        with Reading(run) as reading:
            if reading.run_id in seen:
                raise RunFolderError(f"{run} and {seen[reading.run_id]} are the same search; leave one of them out")
            seen[reading.run_id] = run


def _entries(runs: tuple[Path, ...]) -> Iterator[tuple[str, Entry]]:
    from evohpc.report.reader import Reading

    for run in runs:
        with Reading(run) as reading:
            for entry in reading.store.every():
                yield reading.run_id, entry


def _rows(runs: tuple[Path, ...]) -> Iterator[dict[str, Any]]:
    from evohpc.report import tables

    return ({"run": run_id, **tables.row(entry)} for run_id, entry in _entries(runs))
