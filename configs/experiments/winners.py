"""Train the fittest of each search of an experiment again, with fresh seeds, and by another recipe if asked for.

    python configs/experiments/winners.py configs/experiments/mnist1d docs/results/mnist1d -o winners.csv
    python configs/experiments/winners.py configs/experiments/mnist1d docs/results/mnist1d \
        --arm iid --arm scripted --set task_options.steps=8000 -o winners_8000.csv

The second folder is what run.py kept, ARM-SEED.csv. The programs become the seeds of a run of no round, whose finalists
`evohpc verify` trains; the same command goes on with both. The table is that of `evohpc verify`; it names each program
ARM-SEED/ID, and has beside it what its own search measured.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

SEARCH = {"search.rounds": "0", "search.error_threshold": "1.0", "lm.engine": "scripted"}
"""No children; and every program is a finalist, one with an error above alpha too."""


@dataclass(frozen=True)
class Winner:
    """The fittest candidate of a search."""

    search: str
    id: str
    fitness: str
    error: str
    code_hash: str
    source: str

    @property
    def stem(self) -> str:
        """Its name among the seeds of the run."""
        return f"{self.search}__{self.id}"


def winners(results: Path, arms: Sequence[str]) -> Iterator[Winner]:
    """Yield the fittest of each search that has a file in the results.

    Args:
        arms: only of these; of all if there are none.

    Raises:
        click.BadParameter: no search of this arm is there.
    """
    found = {path.stem: path for path in sorted(results.glob("*-*.csv"))}
    known = {stem.rpartition("-")[0] for stem in found}
    for arm in arms:
        if arm not in known:
            raise click.BadParameter(f"{results} has no search of the arm {arm!r}; it has {', '.join(sorted(known))}")
    for stem, path in found.items():
        if not arms or stem.rpartition("-")[0] in arms:
            yield _fittest(stem, path)


def _fittest(search: str, path: Path) -> Winner:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["counts"] == "True"]
    best = max(rows, key=lambda row: float(row["fitness"]))
    if not best["source"]:
        raise click.ClickException(f"{path} has no program of {best['id']}; run its search again with run.py")
    return Winner(search, best["id"], best["fitness"], best["error"], best["code_hash"], best["source"])


def train(folder: Path, runs: Path, entered: Sequence[Winner], seeds: int, overrides: Sequence[str]) -> Path:
    """Train the programs, or go on with that, and return the table of `evohpc verify`.

    Raises:
        click.ClickException: a command was interrupted or failed, or the runs are of other programs.
    """
    programs = runs / "programs"
    sources = {f"{same[0].stem}.py": same[0].source for same in _alike(entered)}
    if programs.exists() and {path.name for path in programs.iterdir()} != sources.keys():
        raise click.ClickException(f"{runs} was begun with other programs; give another folder with --runs")
    programs.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        (programs / name).write_text(source, encoding="utf-8")
    given = {**SEARCH, "seeds": str(programs.resolve())}
    settings = [part for key, value in given.items() for part in ("--set", f"{key}={value}")]
    recipe = [part for override in overrides for part in ("--set", override)]
    run, table = runs / "run", runs / "verified.csv"
    _evohpc("run", str(run), str(folder / "base.yaml"), *settings)
    counts = "--best", str(len(entered)), "--seeds", str(seeds)
    _evohpc("verify", str(run), *counts, *recipe, "-o", str(table))
    return table


def _alike(entered: Iterable[Winner]) -> Collection[Sequence[Winner]]:
    """Return the winners by program: two searches may end with the same one, which a run would call a duplicate."""
    found: dict[str, list[Winner]] = {}
    for winner in entered:
        found.setdefault(winner.code_hash, []).append(winner)
    return found.values()


def _evohpc(*arguments: str) -> None:
    if subprocess.run([sys.executable, "-m", "evohpc", *arguments]).returncode:
        raise click.ClickException(f"evohpc {arguments[0]} did not finish; the same command goes on with it")


def named(table: Path, entered: Sequence[Winner]) -> list[dict[str, str]]:
    """Return a row of the table for each winner, under the name of its search and with what that search measured.

    Raises:
        click.ClickException: the table lacks one.
    """
    by_seed = {f"seed-{same[0].stem}": same for same in _alike(entered)}
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if missing := by_seed.keys() - {row["id"] for row in rows}:
        raise click.ClickException(f"{table} has no row of {', '.join(sorted(missing))}: it did not train at first")
    return [_named(row, winner) for row in rows for winner in by_seed[row["id"]]]


def _named(row: Mapping[str, str], winner: Winner) -> dict[str, str]:
    measured = {"search_error": winner.error, "search_fitness": winner.fitness}
    return {**row, "id": f"{winner.search}/{winner.id}", **measured}


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/winners"), show_default=True)
@click.option("--arm", "arms", multiple=True, help="Only of this arm; may be given several times.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Trainings of each.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The table.")
def main(
    folder: Path,
    results: Path,
    runs: Path,
    arms: tuple[str, ...],
    seeds: int,
    overrides: tuple[str, ...],
    output: Path,
) -> None:
    entered = list(winners(results, arms))
    rows = named(train(folder, runs, entered, seeds, overrides), entered)
    part = output.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    os.replace(part, output)


if __name__ == "__main__":
    main()
