"""Commands that list what a run holds, from its snapshot: list, show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evohpc.cli.choosing import SORT_KEYS, STATUS_GROUPS, choose, in_groups, sort_entries, sort_value
from evohpc.cli.explain import id_argument, print_differences_to_parents, print_what_is_known
from evohpc.cli.shared import json_option, run_argument, stdout_console
from evohpc.errors import RunFolderError
from evohpc.messages import SEED_ROUND, Status

if TYPE_CHECKING:
    from evohpc.report.logs import Log
    from evohpc.report.reader import Reading
    from evohpc.store.rows import Entry


@click.command(
    "list",
    epilog="""\b
Examples:
  evohpc list runs/first --best 10
  evohpc list runs/first --failed                         what failed, and why
  evohpc list runs/first --round 2 --sort params
  evohpc list runs/first --json | head -n 1""",
)
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


@click.command(
    epilog="""\b
Examples:
  evohpc show runs/first                                  the best
  evohpc show runs/first r003p07s012
  evohpc show runs/first r003p07s012 --log                with its whole traceback
  evohpc show runs/first best --source > best.py"""
)
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

    if only_source + only_log + only_prompt + only_diff + as_json > 1:
        raise click.UsageError("give one of --source, --log, --prompt, --diff and --json: each prints that alone")
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


COMMANDS = (list_candidates, show)


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
