"""The command that takes what runs hold elsewhere: export."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from evohpc.cli.shared import NewFile
from evohpc.errors import RunFolderError
from evohpc.messages import TaskInterface

if TYPE_CHECKING:
    from evohpc.report.reader import Reading
    from evohpc.store.rows import Entry


_FILE = NewFile("w", encoding="utf-8", lazy=True)
"""Opened at the first write, so that a mistake in another argument does not empty a file that exists."""


@click.command(
    epilog="""\b
Examples:
  evohpc export runs/first --csv first.csv
  evohpc export runs/seed-* --csv all.csv                 one table of several searches
  evohpc export runs/first --jsonl - | head
  evohpc export runs/* --sqlite all.db                    for sqlite3 or Datasette
  evohpc export runs/first --best 5 --programs best       modules, to train elsewhere or to be seeds
  evohpc export runs/first --best 5 --programs best --keep-weights   the trained networks, too"""
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--csv", "csv_file", type=_FILE, help="Write a CSV file; - is stdout.")
@click.option("--jsonl", "jsonl_file", type=_FILE, help="Write one JSON document a line.")
@click.option(
    *("--sqlite", "database"),
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the tables of evohpc.load as an SQLite database.",
)
@click.option(
    *("--programs", "folder"), type=click.Path(path_type=Path, file_okay=False), help="Write the fittest as modules."
)
@click.option("--best", type=click.IntRange(min=1), default=10, show_default=True, help="How many, for --programs.")
@click.option(
    "--keep-weights",
    is_flag=True,
    help="With --programs: train each once more, as `evohpc train` does, and keep the network in FOLDER/ID.",
)
def export(
    runs: tuple[Path, ...],
    csv_file: IO[str] | None,
    jsonl_file: IO[str] | None,
    database: Path | None,
    folder: Path | None,
    best: int,
    keep_weights: bool,
) -> None:
    """Write all candidates to a CSV, JSONL or SQLite file, or the fittest to a folder.

    The files: of one search or several, with their results, and with those that were refused. The folder: of one
    search, with what was measured and how to go on; `seeds:` of another config may name it.
    """
    from evohpc.report import tables

    if csv_file is None and jsonl_file is None and database is None and folder is None:
        raise click.UsageError("name a file or a folder: --csv FILE, --jsonl FILE, --sqlite FILE or --programs FOLDER")
    if keep_weights and folder is None:
        raise click.UsageError("--keep-weights needs --programs FOLDER, where the networks are to be")
    if folder is not None:
        _write_programs(runs, folder, best, keep_weights=keep_weights)
    _check_distinct(runs)
    if csv_file is not None:
        columns = list({column: None for row in _rows(runs) for column in row})
        writer = csv.DictWriter(csv_file, columns, restval="")
        writer.writeheader()
        writer.writerows(_rows(runs))
    if jsonl_file is not None:
        for reading, entry in _entries(runs):
            print(tables.line(entry, reading.run_id, late_until=reading.late_until.get(entry.id)), file=jsonl_file)
    for file in filter(None, (csv_file, jsonl_file)):
        file.flush()
        if file.name not in ("-", "<stdout>"):
            click.echo(f"wrote {file.name}", err=True)
    if database is not None:
        _write_database(runs, database)


COMMANDS = (export,)


def _write_database(runs: tuple[Path, ...], path: Path) -> None:
    from evohpc.report.database import write_database
    from evohpc.report.frames import load

    write_database(path, load(*runs, curves=True))
    click.echo(f"wrote {path}; look: sqlite3 -readonly {shlex.quote(str(path))} .schema", err=True)


def _write_programs(runs: tuple[Path, ...], folder: Path, best: int, *, keep_weights: bool) -> None:
    from evohpc.report.programs import write_programs
    from evohpc.report.reader import Reading

    if len(runs) > 1:
        raise click.UsageError("--programs is for one search; name one")
    with Reading(runs[0]) as reading:
        reading.candidate("best")  # says why there is none
        entries, task = reading.best(best), reading.task
        written = write_programs(folder, entries, run_id=reading.run_id, config=reading.config, task=task)
    click.echo(f"wrote {len(written)} programs to {folder}; see {folder / 'README.md'}", err=True)
    if keep_weights:
        _keep_networks(runs[0], folder, entries, task)


def _keep_networks(run: Path, folder: Path, entries: Sequence[Entry], task: TaskInterface) -> None:
    """Train each again and keep it, but for those that an earlier call has kept."""
    from evohpc.cli.train import keep_network
    from evohpc.report.trained_model import LOADER

    left = [entry for entry in entries if not (folder / entry.id / LOADER).exists()]
    lost = [entry.id for entry in left if not keep_network(run, entry, task, folder / entry.id)]
    if lost:
        raise RunFolderError(f"{len(lost)} of {len(entries)} could not be trained again: {', '.join(lost)}")


def _check_distinct(runs: tuple[Path, ...]) -> None:
    """Refuse a search that is named twice, or a copy of its folder: its candidates would count twice."""
    from evohpc.report.reader import Reading

    seen: dict[str, Path] = {}
    for run in runs:
        with Reading(run) as reading:
            if reading.run_id in seen:
                raise RunFolderError(f"{run} and {seen[reading.run_id]} are the same search; leave one of them out")
            seen[reading.run_id] = run


def _entries(runs: tuple[Path, ...]) -> Iterator[tuple[Reading, Entry]]:
    from evohpc.report.reader import Reading

    for run in runs:
        with Reading(run) as reading:
            for entry in reading.store.every():
                yield reading, entry


def _rows(runs: tuple[Path, ...]) -> Iterator[dict[str, Any]]:
    from evohpc.report import tables

    return (
        {"run": reading.run_id, **tables.row(entry), "late_until": reading.late_until.get(entry.id)}
        for reading, entry in _entries(runs)
    )
