"""Run the transfers of an experiment on CLRS-30, an algorithm at a time, and go on where that was interrupted.

    python configs/experiments/transfer.py configs/experiments/clrs
    python configs/experiments/transfer.py configs/experiments/clrs --algorithm bfs --results docs/results/clrs

`transfer.yaml` in the folder names the models, the baseline and the budget of each algorithm. With --results FOLDER,
its transfer.csv gets the rows of each algorithm whose trainings are over, and one that is in it is not run again.
"""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import click
import yaml

from evohpc.transfer import Row, read_table

BUDGET = ("steps", "samples")
"""Options of an algorithm that the results keep."""
COLUMNS = (*(field.name for field in fields(Row)), *BUDGET)


@dataclass(frozen=True)
class Transfer:
    """The models, trained on one algorithm."""

    algorithm: str
    run: Path
    models: Sequence[Path]
    baseline: Path
    seeds: int
    options: Mapping[str, Any]

    def command(self) -> list[str]:
        """Return the command that begins it, or goes on with it."""
        given = [part for key, value in self.options.items() for part in ("--set", f"task_options.{key}={value}")]
        what = ["--baseline", str(self.baseline), "--algorithms", self.algorithm, "--seeds", str(self.seeds)]
        return [sys.executable, "-m", "evohpc", "transfer", str(self.run), *map(str, self.models), *what, *given]

    def rows(self) -> list[dict[str, object]]:
        """Return what came of it, a row for each model."""
        budget = {name: self.options[name] for name in BUDGET}
        return [{**asdict(row), **budget} for row in read_table(self.run)]


def transfers(folder: Path, runs: Path, algorithms: Sequence[str]) -> Iterator[Transfer]:
    """Yield the transfers of an experiment.

    Args:
        runs: where the run folders are made.
        algorithms: which of them; all if there are none.

    Raises:
        click.BadParameter: the experiment has no such algorithm.
    """
    experiment = yaml.safe_load((folder / "transfer.yaml").read_text(encoding="utf-8"))
    budgets = experiment["algorithms"]
    for name in algorithms or budgets:
        if name not in budgets:
            raise click.BadParameter(
                f"{folder / 'transfer.yaml'} has no algorithm {name!r}; it has {', '.join(budgets)}"
            )
        models = sorted((folder / experiment["models"]).glob("*.py"))
        options = {**experiment["options"], **budgets[name]}
        yield Transfer(name, runs / name, models, folder / experiment["baseline"], experiment["seeds"], options)


def kept(path: Path) -> list[dict[str, object]]:
    """Return the rows of a results file, none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [dict(row) for row in csv.DictReader(file)]


def keep(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Replace a results file as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    os.replace(part, path)


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/transfer"), show_default=True)
@click.option("--algorithm", "algorithms", multiple=True, help="Only this algorithm; may be given several times.")
@click.option("--results", type=click.Path(path_type=Path), help="Keep the rows of finished algorithms in this folder.")
@click.option("--dry-run", is_flag=True, help="Print the commands and run none.")
def main(folder: Path, runs: Path, algorithms: tuple[str, ...], results: Path | None, dry_run: bool) -> None:
    for transfer in list(transfers(folder, runs, algorithms)):
        rows = [] if results is None else kept(results / "transfer.csv")
        if any(row["algorithm"] == transfer.algorithm for row in rows):
            click.echo(f"{transfer.algorithm} has its results; remove them to run it again", err=True)
        elif dry_run:
            click.echo(shlex.join(transfer.command()))
        elif subprocess.run(transfer.command()).returncode:
            raise click.ClickException(f"{transfer.run}: not finished; the same command goes on with it")
        elif results is not None:
            keep(results / "transfer.csv", [*rows, *transfer.rows()])


if __name__ == "__main__":
    main()
