"""Commands that draw runs: report, aggregate."""

from __future__ import annotations

from pathlib import Path

import click

from evohpc.cli.shared import run_argument
from evohpc.errors import RunFolderError


@click.command(
    epilog="""\b
Examples:
  evohpc report runs/first                                writes runs/first/report.html
  evohpc report runs/first -o first.html --target -133
  evohpc report copied/search.db -o first.html            of a snapshot alone"""
)
@run_argument
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: RUN/report.html.")
@click.option("--target", type=float, help="A fitness to be reached, drawn as a line.")
def report(run: Path, output: Path | None, target: float | None) -> None:
    """Draw a search as one HTML file.

    Charts, lineage, programs and their differences, a table, the config: all in one file that opens from disk and
    loads nothing. Works while the search runs, and of a snapshot (RUN/snapshots/search.db) alone.
    """
    from evohpc.report.missing import explain_missing
    from evohpc.report.runs import read

    found = read(run)
    output = output or _default(run)
    with explain_missing():
        from evohpc.report.report import report as draw
    _write(output, draw(found, target=target))


COMMANDS = (report,)


def _default(run: Path) -> Path:
    if run.is_dir():
        return run / "report.html"
    raise RunFolderError(f"{run} is a snapshot and no run folder; name the file to write: -o FILE")


def _write(output: Path, text: str) -> None:
    from evohpc.files import write_atomic

    write_atomic(output, text)
    click.echo(output)
    click.echo(f"open it in a browser: {output.absolute().as_uri()}", err=True)
