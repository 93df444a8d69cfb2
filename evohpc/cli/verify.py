"""The verify command: trains the finalists of a search again, with fresh seeds."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evohpc.cli.run import drive, load_profile
from evohpc.cli.shared import command, json_option, run_argument, site_option, stdout_console

if TYPE_CHECKING:
    from evohpc.search.verification import Asked
    from evohpc.search.verified_table import Row

TABLE = "table.csv"


@click.command(
    epilog="""\b
Examples:
  evohpc verify runs/first                                its 3 fittest, with 5 seeds each
  evohpc verify runs/first --best 5 --seeds 5 --set task_options.steps=8000
  evohpc verify runs/first                                goes on with that, or prints its table
  evohpc verify runs/first --max-error 0.2 --to runs/first-strict
  evohpc verify runs/mnist1d --best 10 --site slurm/mysite.yaml -o verified.csv"""
)
@run_argument
@click.option("--best", type=click.IntRange(min=1), metavar="N", help="The N fittest; default: 3.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="K", help="Trainings of each; default: 5.")
@click.option(
    "--max-error",
    type=click.FloatRange(min=0),
    metavar="E",
    help="Only such with an error below E in the search; default: search.error_threshold.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe, e.g. task_options.steps=8000."
)
@site_option
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Folder of the trainings; default: RUN/verified.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help=f"The table; default: {TABLE} there."
)
@json_option
def verify(
    run: Path,
    best: int | None,
    seeds: int | None,
    max_error: float | None,
    overrides: tuple[str, ...],
    site: Path | None,
    folder: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Train the finalists of a search again, with fresh seeds.

    Each seed has data and validation samples of its own, on which nothing was selected. The table says how far the
    search's numbers hold: means and standard deviations of fitness, error and, where the task measures it, test
    accuracy. The same command goes on after any interruption, with more --seeds if wanted. A search with a site is
    verified on that site.
    """
    from evohpc.search.verification import FOLDER, Verification

    folder = folder or run / FOLDER
    to = () if folder == run / FOLDER else ("--to", str(folder))
    asked = _asked(best, max_error, overrides)
    profile = load_profile(site)
    drive(
        lambda: Verification.create(run, asked, seeds=seeds, folder=folder, site=profile),
        go_on=command("verify", run, *to, *(() if site is None else ("--site", str(site)))),
    )
    _show(run, folder, output or folder / TABLE, as_json)


COMMANDS = (verify,)


def _asked(best: int | None, max_error: float | None, overrides: tuple[str, ...]) -> Asked | None:
    """Return what was asked for; None if nothing was, which goes on with what is there."""
    from evohpc.search.verification import Asked

    if best is None and max_error is None and not overrides:
        return None
    return Asked(best or Asked().best, max_error, overrides)


def _show(run: Path, folder: Path, output: Path, as_json: bool) -> None:
    from evohpc.evolution.entry import size_column
    from evohpc.files import write_atomic
    from evohpc.report.documents import head
    from evohpc.report.reader import Reading
    from evohpc.report.tables import csv_text, text_table
    from evohpc.search.verification import read_plan, read_table
    from evohpc.search.verified_table import Row

    rows = read_table(folder)
    write_atomic(output, csv_text(Row, rows))
    if as_json:
        document = head("verify", read_plan(folder).run_id)
        click.echo(json.dumps({**document, "finalists": [asdict(row) for row in rows]}, indent=1))
    else:
        with Reading(run) as reading:
            stdout_console().print(text_table(_lines(rows, size_column(reading.task.size_name))))
    for row in rows:
        for failure in row.failures.splitlines():
            click.echo(f"{row.id}, {failure}", err=True)
    click.echo(f"wrote {output}", err=True)


def _lines(rows: list[Row], size: str) -> list[tuple[str, ...]]:
    """Return the table for people; the columns of test accuracy only where there is one.

    Args:
        size: heading of the column of sizes.
    """
    from evohpc.report.tables import number, spread

    is_tested = any(row.test_accuracy is not None for row in rows)
    header = ("id", size, "fitness", "worst", "best", "error", "trained", "search fitness", "search error")
    lines: list[tuple[str, ...]] = [(*header, "test accuracy") if is_tested else header]
    for row in rows:
        tested = (spread(row.test_accuracy, row.test_accuracy_sd, 4),) if is_tested else ()
        lines.append(
            (
                row.id,
                f"{row.num_params:,}",
                spread(row.fitness, row.fitness_sd, 1),
                *("" if value is None else number(value) for value in (row.fitness_min, row.fitness_max)),
                spread(row.error, row.error_sd, 4),
                f"{row.trained} of {row.seeds}",
                number(row.search_fitness),
                spread(row.search_error, None, 4),
                *tested,
            )
        )
    return lines
