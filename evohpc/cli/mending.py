"""Commands that mend a run: retry, rebuild."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from evohpc.cli.shared import command, run_argument

_MOST_NAMED = 10
"""Candidates in a line."""


@click.command(
    epilog="""\b
Examples:
  evohpc list runs/first --status machine_fault           whom machines failed
  evohpc retry runs/first && evohpc run runs/first"""
)
@run_argument
def retry(run: Path) -> None:
    """Try candidates again that nodes failed.

    Candidates of the open round that used up their attempts by machine faults get another set of attempts. Those of
    rounds that have closed get none, and are named: later rounds were made without them. A seed of a verification has
    one round, which closes with its last finalist."""
    from evohpc.config.search import load_resolved
    from evohpc.run_folder import RunDir
    from evohpc.search.rebuild import given_up_for_good
    from evohpc.search.rebuild import retry as retry_candidates

    count = retry_candidates(RunDir(run))
    if count:
        click.echo(f"{count} candidates will be tried again; go on: {command('run', run)} (or submit)", err=True)
    else:
        click.echo("no candidate of the open round has used up its attempts by machine faults", err=True)
    if left := given_up_for_good(RunDir(run)):
        _tell_of_closed_rounds(run, left, has_rounds=load_resolved(RunDir(run).config).search.rounds > 0)


@click.command(
    epilog="""\b
Examples:
  evohpc rebuild runs/first                               where search.db is damaged or gone
  evohpc rebuild runs/first --accept-loss"""
)
@run_argument
@click.option("--accept-loss", is_flag=True, help="Go on where the files hold less than RUN/search.db, which is kept.")
def rebuild(run: Path, accept_loss: bool) -> None:
    """Make RUN/search.db anew from its files.

    What the old one said, and the files do not say, is never lost: a copy of it is kept beside the new one."""
    from rich.console import Console
    from rich.progress import Progress

    from evohpc.run_folder import RunDir
    from evohpc.search.rebuild import rebuild as rebuild_database

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("replaying rounds")
        done = rebuild_database(
            RunDir(run),
            accept_loss=accept_loss,
            observe=lambda done, total: bar.update(task, completed=done, total=total),
        )
    click.echo(f"rebuilt {run}: {_rows(done.after)}; before: {_rows(done.before)}", err=True)
    for path in done.kept:
        click.echo(f"kept what was there as {path}", err=True)
    click.echo(f"look: {command('status', run)}", err=True)


COMMANDS = (retry, rebuild)


def _tell_of_closed_rounds(run: Path, ids: Sequence[str], *, has_rounds: bool) -> None:
    """Say of candidates that cannot be tried again why not, and what can be done.

    Args:
        has_rounds: the run is a search; else it trains its seed programs alone, as a verification has it.
    """
    named = ", ".join(ids[:_MOST_NAMED]) + (", ..." if len(ids) > _MOST_NAMED else "")
    id, source, config = map(shlex.quote, (ids[0], f"{ids[0]}.py", str(run / "config.yaml")))
    why = "as all rounds since were made without them" if has_rounds else "and this run has no round to come"
    away = shlex.join(["mv", str(run), f"{run}.old"])
    for line in (
        f"not tried again: {len(ids)} of closed rounds ({named}), {why}",
        f"look: {command('list', run)} --status machine_fault",
        f"what one is worth: {command('show', run)} {id} --source > {source}",
        f"                   evohpc evaluate {source} --config {config}",
        f"more attempts in rounds to come: {command('run', run)} --set evaluation.retries=N"
        if has_rounds
        else f"a seed of a verification is trained again as a whole: {away}; then the command of `evohpc verify` again",
    ):
        click.echo(line, err=True)


def _rows(counts: Mapping[str, int] | None) -> str:
    from evohpc.search.backups import in_words

    return "none that can be read" if counts is None else in_words(counts)
