"""Commands that list what a run holds, from its snapshot: list, show, export."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from evohpc.cli.choosing import SORT_KEYS, STATUS_GROUPS, choose, in_groups, sort_entries, sort_value
from evohpc.cli.explain import id_argument, print_differences_to_parents, print_what_is_known
from evohpc.cli.shared import NewFile, json_option, run_argument, stdout_console
from evohpc.errors import RunFolderError
from evohpc.messages import SEED_ROUND, Status, TaskInterface

if TYPE_CHECKING:
    from evohpc.report.logs import Log
    from evohpc.report.reader import Reading
    from evohpc.store.rows import Entry


_FILE = NewFile("w", encoding="utf-8", lazy=True)
"""Opened at the first write, so that a mistake in another argument does not empty a file that exists."""


@click.command("list")
@run_argument
@click.option("--round", "round", type=int, help="Only this round; -1 is that of the seeds.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice(tuple(dict.fromkeys((*map(str, Status), *STATUS_GROUPS)))),
    help="Only these outcomes; failed, refused and machine_fault are all of such a class.",
)
@click.option("--failed", is_flag=True, help="The same as --status failed.")
@click.option("--late", is_flag=True, help="Only those without an outcome when their round closed (search.close_at).")
@click.option(
    "--best", type=click.IntRange(min=1), metavar="N", help="The N fittest with an error below search.error_threshold."
)
@click.option(
    "--sort", type=click.Choice(SORT_KEYS), help="The fittest, or the least, first; what has no such number last."
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@json_option
def list_candidates(
    run: Path,
    round: int | None,
    statuses: tuple[str, ...],
    failed: bool,
    late: bool,
    best: int | None,
    sort: str | None,
    reverse: bool,
    as_json: bool,
) -> None:
    """List candidates with their outcomes."""
    from evohpc.report import tables
    from evohpc.report.reader import Reading
    from evohpc.report.remarks import remarked

    with Reading(run) as reading:
        chosen = in_groups((*statuses, *(["failed"] if failed else [])))
        entries, until = choose(reading, round, chosen, best, is_late=late), reading.late_until
        found = sort_entries(entries, sort, reverse=reverse) if sort or reverse else entries
        shown = _Counted(found)
        if as_json:
            for entry in shown:
                click.echo(tables.line(entry, reading.run_id, late_until=until.get(entry.id)))
        else:
            instead = None if sort in (None, "fitness", "params") else (sort, lambda entry: sort_value(entry, sort))
            said = (remarked(entry, reading.error_below, until) for entry in shown)
            stdout_console().print(tables.candidates_table(said, reading.task, instead))
        _note_what_is_missing(reading, shown.count, is_best=best is not None)


@click.command()
@run_argument
@id_argument
@click.option("--source", "only_source", is_flag=True, help="Print the program only, as it is, e.g. into a file.")
@click.option("--log", "only_log", is_flag=True, help="Print what it printed only, tracebacks above all.")
@click.option("--prompt", "only_prompt", is_flag=True, help="Print only what the language model was given.")
@click.option("--diff", "only_diff", is_flag=True, help="Print only what is new beside its parents, as `evohpc diff`.")
@json_option
def show(
    run: Path,
    candidate_id: str,
    only_source: bool,
    only_log: bool,
    only_prompt: bool,
    only_diff: bool,
    as_json: bool,
) -> None:
    """Show one candidate: descent, results, program; of one that failed, the end of its log. ID is `best` if it is left
    away."""
    from evohpc.report import tables
    from evohpc.report.reader import Reading
    from evohpc.report.terminal import printable

    with Reading(run) as reading:
        entry = reading.candidate(candidate_id)
        if as_json:
            late_until = reading.late_until.get(entry.id)
            click.echo(tables.line(entry, reading.run_id, late_until=late_until, curve=reading.curve(entry)))
            return
        if only_log:
            click.echo(printable(_log(reading, entry).text))
            return
        if only_prompt:
            click.echo(printable(_prompt(reading, entry)))
            return
        if only_diff:
            print_differences_to_parents(reading, entry)
            return
        source = entry.candidate.source
        if not only_source:
            print_what_is_known(reading, entry)
            source = printable(source)
        # click takes escapes out of what goes to a pipe unless it is told that they are colours.
        click.echo(source, nl=not source.endswith("\n"), color=True)


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


class _Counted:
    """Candidates, counted while they go by: there may be many."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries, self.count = entries, 0

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._entries:
            self.count += 1
            yield entry


def _note_what_is_missing(reading: Reading, count: int, *, is_best: bool) -> None:
    if not count:
        children = sum(reading.store.counts().values())
        click.echo(f"no candidate is so; the search has {children} children", err=True)
    if is_best and (fitter := reading.not_counted()):
        click.echo(fitter, err=True)


COMMANDS = (list_candidates, show, export)


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


def _log(reading: Reading, entry: Entry) -> Log:
    """Return what a candidate printed.

    Raises:
        RunFolderError: it was not evaluated, printed nothing, or its log is gone.
    """
    if (log := reading.log(entry)) is None:
        why = "it was not evaluated" if entry.result is None else "it printed nothing, or its log is gone"
        raise RunFolderError(f"there is no log of {entry.id}: {why}")
    return log


def _prompt(reading: Reading, entry: Entry) -> str:
    """Return the text that a candidate completes.

    Raises:
        RunFolderError: it is a seed, or the request of its round is gone.
    """
    if (prompt := reading.prompt(entry.candidate)) is None:
        why = "the user wrote it" if entry.candidate.round == SEED_ROUND else "its round's request.json cannot be read"
        raise RunFolderError(f"there is no prompt of {entry.id}: {why}")
    return prompt


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
