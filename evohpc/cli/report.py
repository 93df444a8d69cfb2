"""Commands that draw runs: report, aggregate."""

from __future__ import annotations

import math
from pathlib import Path

import click

from evohpc.cli.shared import run_argument, stdout_console
from evohpc.errors import ConfigError, RunFolderError


def _finite(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no fitness that a search can reach; give a finite number")
    return value


@click.command(
    epilog="""\b
Examples:
  evohpc report runs/first                                writes runs/first/report.html
  evohpc report runs/first -o first.html --target -133
  evohpc report copied/search.db -o first.html            of a snapshot alone"""
)
@run_argument
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: RUN/report.html.")
@click.option("--target", type=float, callback=_finite, help="A fitness to be reached, drawn as a line.")
def report(run: Path, output: Path | None, target: float | None) -> None:
    """Draw a search as one HTML file.

    Charts, lineage, programs and their differences, a table, the config: all in one file that opens from disk and
    loads nothing. Works while the search runs, and of a snapshot (RUN/snapshots/search.db) alone.
    """
    from evohpc.report.missing import explain_missing
    from evohpc.report.report import report as draw
    from evohpc.report.runs import read

    if output is not None and output.suffix not in (".html", ".htm"):
        raise ConfigError(f"{output}: a report is HTML; name a file that ends in .html")
    found = read(run)
    output = output or _default(run)
    with explain_missing():
        text = draw(found, target=target)
    _write(output, text)


@click.command(
    epilog="""\b
Examples:
  evohpc aggregate runs/seed-*                            prints a table
  evohpc aggregate runs/* --by search.variant -o compared.html -o compared.csv
  evohpc aggregate runs/* --by search.variant --target -133 -o table.tex"""
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--by", multiple=True, metavar="KEY", help="Group by a key of the config, e.g. search.variant.")
@click.option("--target", type=float, callback=_finite, help="A fitness; what it cost to reach it is compared.")
@click.option(
    "-o",
    "--output",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="FILE.html: everything; .csv, .jsonl, .parquet: one row a run; .tex: one row a group. May be repeated.",
)
def aggregate(runs: tuple[Path, ...], by: tuple[str, ...], target: float | None, files: tuple[Path, ...]) -> None:
    """Compare several searches.

    RUNS are run folders or snapshots alone, finished or not, of any version. Their best fitness is compared at equal
    evaluations and at equal time, with bootstrap intervals, by group and by pairs of the same seed. What cannot be
    read is named and left out; a mean is of the runs that found anything, e.g. "(2 of 3)".
    """
    from evohpc.report import aggregate as aggregation
    from evohpc.report.tables import groups_table

    found = aggregation.aggregate(runs, by, target)
    for path, reason in found.broken:
        named = reason if reason.startswith(str(path)) else f"{path}: {reason}"
        click.echo(f"left out: {named}", err=True)
    if found.mixed:
        click.echo(f"{found.mixed}; take them apart with --by task", err=True)
    if (least := found.shortest) is not None:
        text = f"{least.run.path} is not finished: all are compared at its {least.end:.0f} evaluations"
        click.echo(f"{text}; leave it away to compare at more", err=True)
    for file in files:
        aggregation.write(found, file)
        click.echo(file)
    if not files:
        stdout_console().print(groups_table(found.groups))


COMMANDS = (report, aggregate)


def _default(run: Path) -> Path:
    if run.is_dir():
        return run / "report.html"
    raise RunFolderError(f"{run} is a snapshot and no run folder; name the file to write: -o FILE")


def _write(output: Path, text: str) -> None:
    from evohpc.files import write_atomic

    write_atomic(output, text)
    click.echo(output)
    click.echo(f"open it in a browser: {output.absolute().as_uri()}", err=True)
