"""The transfer command: finished models on the algorithms of CLRS-30."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evohpc.cli.driving import drive, load_profile, submit_driver
from evohpc.cli.shared import overrides_option, site_option, stdout_console

if TYPE_CHECKING:
    from evohpc.search import Search


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
@click.option("--best", type=click.IntRange(min=1), default=1, show_default=True, help="How many of them.")
@click.option("--algorithms", metavar="NAME,...", help="Default: all 30.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Trainings of each.")
@overrides_option
@site_option
@click.option("--submit", is_flag=True, help="Have a Slurm job drive it.")
@click.option("--only-table", is_flag=True, help="Write the table of what is trained so far; train nothing.")
def transfer(
    out: Path,
    models: tuple[Path, ...],
    baseline: Path | None,
    search_run: Path | None,
    best: int,
    algorithms: str | None,
    seeds: int,
    overrides: tuple[str, ...],
    site: Path | None,
    submit: bool,
    only_table: bool,
) -> None:
    """Train models on the algorithms of CLRS-30 and test them at 64 nodes.

    OUT is a run folder: status, list, export, submit and cancel work on it, and the same command goes on after any
    interruption. MODELS are files of the class Triplets. Ends with the paper's Table 3, also as OUT/table3.md and, with
    all models, OUT/table3.csv.
    """
    if only_table:
        _write_table(out)
        return
    if not (models or baseline or search_run):
        start = partial(_open, out)
    else:
        start = partial(_create, out, models, baseline, search_run, best, algorithms, seeds, overrides, site)
    if submit:
        with start() as search:
            submit_driver(search)
        return
    drive(start, go_on=f"evohpc transfer {out}")
    _write_table(out)


COMMANDS = (transfer,)


def _open(out: Path) -> Search:
    from evohpc.transfer import open_transfer

    return open_transfer(out)


def _create(
    out: Path,
    files: tuple[Path, ...],
    baseline: Path | None,
    search_run: Path | None,
    best: int,
    algorithms: str | None,
    seeds: int,
    overrides: tuple[str, ...],
    site: Path | None,
) -> Search:
    from evohpc import transfer
    from evohpc.tasks.clrs import features

    models, evaluation = transfer.gather(files, baseline=baseline, search=search_run, best=best)
    names = features.algorithms() if algorithms is None else tuple(algorithms.split(","))
    for name in names:
        features.check_algorithm(name)
    trainings = transfer.programs(models, names, seeds)
    click.echo(f"{len(trainings)} trainings: {', '.join(models)} on {len(names)} algorithms", err=True)
    click.echo("drawing the test sets, unless they are there; a minute or two for all 30 algorithms", err=True)
    return transfer.create(out, trainings, overrides=overrides, evaluation=evaluation, site=load_profile(site))


def _write_table(out: Path) -> None:
    from evohpc import transfer
    from evohpc.report import text_table
    from evohpc.rundir import write_atomic

    rows = transfer.read_table(out)
    write_atomic(out / "table3.csv", transfer.as_csv(rows))
    write_atomic(out / "table3.md", transfer.as_markdown(rows))
    stdout_console().print(text_table(transfer.table_3(rows)))
    click.echo(f"wrote {out / 'table3.md'} and, with all models, {out / 'table3.csv'}", err=True)
