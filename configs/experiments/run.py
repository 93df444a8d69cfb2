"""Run all arms of an experiment in turn, and go on where it was interrupted.

    python configs/experiments/run.py configs/experiments/mnist1d
    python configs/experiments/run.py configs/experiments/mnist1d --arm scripted --arm iid --seed 0 --seed 1
    python configs/experiments/run.py configs/experiments/mnist1d --site slurm/mysite.yaml   # on a cluster, all at once

`arms.yaml` in the folder names the base config, the search seeds and what each arm sets beside it. Each search has a
run folder of its own, ARM-SEED, which `evohpc aggregate` compares: `evohpc aggregate runs/experiments/mnist1d/*`. The
first seed of all arms comes first, then the second: an experiment that is cut short has all arms, with fewer seeds.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml


@dataclass(frozen=True)
class Search:
    """One search of an experiment."""

    run: Path
    config: Path
    settings: Mapping[str, Any]

    def command(self, site: Path | None) -> list[str]:
        """Return the command that begins it, or goes on with it."""
        verb = "run" if site is None else "submit"
        given = [part for key, value in self.settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
        there = [] if site is None else ["--site", str(site)]
        return [sys.executable, "-m", "evohpc", verb, str(self.run), str(self.config), *given, *there]


def searches(folder: Path, runs: Path, arms: Sequence[str], seeds: Sequence[int]) -> Iterator[Search]:
    """Yield the searches of an experiment, seed by seed.

    Args:
        runs: where the run folders are made.
        arms, seeds: which of them; all if there are none.

    Raises:
        click.BadParameter: the experiment has no arm of this name.
    """
    experiment = yaml.safe_load((folder / "arms.yaml").read_text(encoding="utf-8"))
    known = experiment["arms"]
    for name in arms:
        if name not in known:
            raise click.BadParameter(f"{folder / 'arms.yaml'} has no arm {name!r}; it has {', '.join(known)}")
    for seed in seeds or experiment["seeds"]:
        for name in arms or known:
            settings = {**known[name], "search.seed": seed}
            yield Search(runs / f"{name}-{seed}", folder / experiment["base"], settings)


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--runs", type=click.Path(path_type=Path), help="Where the run folders are made. [runs/experiments/NAME]")
@click.option("--arm", "arms", multiple=True, help="Only this arm; may be given several times.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Only this search seed; may be given several times.")
@click.option("--site", type=click.Path(exists=True, path_type=Path), help="Submit the searches to this Slurm site.")
@click.option("--dry-run", is_flag=True, help="Print the commands and run none.")
def main(
    folder: Path, runs: Path | None, arms: tuple[str, ...], seeds: tuple[int, ...], site: Path | None, dry_run: bool
) -> None:
    todo = list(searches(folder, runs or Path("runs/experiments") / folder.resolve().name, arms, seeds))
    failed = []
    for number, search in enumerate(todo, start=1):
        click.echo(f"search {number} of {len(todo)}: {search.run}", err=True)
        command = search.command(site)
        if dry_run:
            click.echo(shlex.join(command))
        elif subprocess.run(command).returncode:
            failed.append(search.run)
    if failed:
        raise click.ClickException(f"not finished: {', '.join(map(str, failed))}; the same command goes on with them")


if __name__ == "__main__":
    main()
