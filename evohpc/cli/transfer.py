"""The transfer command: trains finished models on the algorithms of CLRS-30."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evohpc.cli.run import drive, load_profile, open_search, submit_driver
from evohpc.cli.shared import command, overrides_option, site_option, stdout_console

if TYPE_CHECKING:
    from evohpc.search.search import Search
    from evohpc.transfer import Models


@click.command(
    epilog="""\b
Examples:
  evohpc transfer runs/table3 seeds/clrs_discovered/*.py --baseline seeds/clrs/v1_standard.py
  evohpc transfer runs/table3 --from runs/clrs_graham_scan --best 3 --baseline seeds/clrs/v1_standard.py --site FILE
  evohpc transfer runs/table3                             goes on with it, and writes the table
  evohpc transfer runs/try mine.py --algorithms bfs,dfs --seeds 1 --set task_options.steps=100"""
)
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@click.option("--baseline", type=click.Path(path_type=Path), help="Model that the others are compared with.")
@click.option("--from", "search_run", metavar="RUN", type=click.Path(path_type=Path), help="Take models of a search.")
@click.option("--best", type=click.IntRange(min=1), help="How many of them; default: 1.")
@click.option("--algorithms", metavar="NAME,...", help="Default: all 30.")
@click.option("--seeds", type=click.IntRange(min=1), help="Trainings of each; default: 3.")
@overrides_option
@site_option
@click.option("--submit", is_flag=True, help="Have a Slurm job drive it.")
@click.option("--only-table", is_flag=True, help="Write the table of the trainings that are over; train nothing.")
def transfer(
    out: Path,
    models: tuple[Path, ...],
    baseline: Path | None,
    search_run: Path | None,
    best: int | None,
    algorithms: str | None,
    seeds: int | None,
    overrides: tuple[str, ...],
    site: Path | None,
    submit: bool,
    only_table: bool,
) -> None:
    """Train models on the algorithms of CLRS-30 and test them at 64 nodes.

    OUT is a run folder: status, list, export, submit and cancel work on it, and the same command goes on after any
    interruption. MODELS are files that define the class Triplets (or Processor, with
    --set task_options.searched=processor). At its end it prints the paper's Table 3, and writes it to OUT/table3.md
    and, with all models, to OUT/table3.csv.
    """
    if only_table:
        _write_table(out)
        return
    if models or baseline or search_run:
        named = _gather(models, baseline, search_run, best or 1)
        start = partial(_create, out, named, _names(algorithms), seeds or 3, overrides, site)
    elif algorithms or seeds or best:
        raise click.UsageError(
            "name the models, too: files, --baseline or --from; OUT alone goes on with what it holds"
        )
    else:
        start = partial(_open, out, overrides, site)
    if submit:
        with start() as search:
            submit_driver(search)
        return
    drive(start, go_on=command("transfer", out))
    _write_table(out)


COMMANDS = (transfer,)


def _gather(files: tuple[Path, ...], baseline: Path | None, search: Path | None, best: int) -> Models:
    from evohpc.transfer import gather

    return gather(files, baseline=baseline, search=search, best=best)


def _names(algorithms: str | None) -> tuple[str, ...]:
    """Return the algorithms of a list separated by commas; all if there is no list."""
    from evohpc.tasks.clrs import features

    if algorithms is None:
        return features.algorithms()
    names = tuple(dict.fromkeys(name.strip() for name in algorithms.split(",")))
    for name in names:
        features.check_algorithm(name)
    return names


def _create(
    out: Path, models: Models, names: tuple[str, ...], seeds: int, overrides: tuple[str, ...], site: Path | None
) -> Search:
    from evohpc import transfer

    trainings = transfer.programs(models.sources, names, seeds)
    click.echo(f"{len(trainings)} trainings: {', '.join(models.sources)} on {len(names)} algorithms", err=True)
    click.echo("drawing the test sets, unless they are there; a minute or two for all 30 algorithms", err=True)
    profile = load_profile(site)
    return transfer.create(out, trainings, overrides=overrides, evaluation=models.evaluation, site=profile)


def _open(out: Path, overrides: tuple[str, ...], site: Path | None) -> Search:
    from evohpc.transfer import open_transfer

    open_transfer(out)
    return open_search(out, None, overrides, site)


def _write_table(out: Path) -> None:
    from evohpc import transfer
    from evohpc.files import write_atomic
    from evohpc.report.tables import csv_text, text_table

    rows = transfer.read_table(out)
    write_atomic(out / "table3.csv", csv_text(transfer.Row, rows))
    write_atomic(out / "table3.md", transfer.as_markdown(rows))
    stdout_console().print(text_table(transfer.table_3(rows)))
    click.echo(f"wrote {out / 'table3.md'} and, with all models, {out / 'table3.csv'}", err=True)
