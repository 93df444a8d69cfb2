"""Run all arms of an experiment in turn, and go on where it was interrupted.

    python configs/experiments/run.py configs/experiments/mnist1d
    python configs/experiments/run.py configs/experiments/mnist1d --arm scripted --arm iid --seed 0 --seed 1
    python configs/experiments/run.py configs/experiments/mnist1d --site slurm/mysite.yaml   # on a cluster, all at once

`arms.yaml` in the folder names the base config, the search seeds and what each arm sets beside it. It may have
`settings` that all arms share, and an arm may have a `base` of its own. Each search has a run folder of its own,
ARM-SEED, which `evohpc aggregate` compares: `evohpc aggregate runs/experiments/mnist1d/*`. The first seed of all arms
comes first, then the second: an experiment that is cut short has all arms, with fewer seeds.

With --results FOLDER, the candidates of each finished search are written there, ARM-SEED.csv, and a search that has its
file there is not run again: an experiment may be spread over days and machines.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from evohpc.errors import EvohpcError

KEPT = (
    *("id", "round", "prompt", "sample", "parents", "temperature", "tokens", "outcome", "status", "detail"),
    *("num_params", "error", "fitness", "counts", "code_hash", "finished_at", "source"),
)
"""Columns of `evohpc.load(...).candidates` that the results keep, with all metrics and seconds."""
STEPS = "metrics.reported_step"
"""The training step of the checkpoint that was scored last: of the built-in tasks, all steps of a training."""
PROGRAMS = 5
"""Of how many of the fittest the program is kept, and of how many of those with an error below `STRICT`."""
STRICT = 0.2


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
            settings = {**experiment.get("settings", {}), **known[name], "search.seed": seed}
            base = settings.pop("base", experiment.get("base"))
            yield Search(runs / f"{name}-{seed}", folder / base, settings)


def keep_results(search: Search, path: Path) -> bool:
    """Write the candidates of a search that is done; say whether it is.

    Args:
        path: of the CSV file; it is replaced as a whole.
    """
    import evohpc

    tables = evohpc.load(search.run)
    if not bool(tables.runs["is_done"].all()):
        return False
    candidates = tables.candidates
    measured = [name for name in candidates.columns if name.startswith(("metrics.", "seconds."))]
    kept = candidates[[*KEPT, *measured]].copy()
    if STEPS in tables.results:  # of all its trainings, those at lower rungs too
        kept["steps_in_all"] = kept["id"].map(tables.results.groupby("id")[STEPS].sum())
    fittest = kept[kept["counts"]].sort_values(["fitness", "id"], ascending=[False, True])
    best = (*fittest.head(PROGRAMS).index, *fittest[fittest["error"] < STRICT].head(PROGRAMS).index)
    kept.loc[~kept.index.isin(best), "source"] = ""
    run = tables.runs.iloc[0]
    kept.insert(0, "search", search.run.name)
    kept.insert(1, "git_commit", run["git_commit"])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    kept.to_csv(part, index=False, lineterminator="\n")
    os.replace(part, path)
    return True


def run_one(search: Search, site: Path | None, results: Path | None) -> bool:
    """Run a search, or go on with it, and keep its results; say whether all went well so far.

    With a site, it is only submitted, unless it is over: then the same command again keeps its results.
    """
    path = None if results is None else results / f"{search.run.name}.csv"
    if path is not None and path.exists():
        click.echo(f"{path} is there; remove it to run this search again", err=True)
        return True
    if subprocess.run(search.command(site)).returncode:
        return False
    if path is not None:
        with contextlib.suppress(EvohpcError):  # submitted, and not begun yet
            keep_results(search, path)
    return True


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--runs", type=click.Path(path_type=Path), help="Where the run folders are made. [runs/experiments/NAME]")
@click.option("--arm", "arms", multiple=True, help="Only this arm; may be given several times.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Only this search seed; may be given several times.")
@click.option("--site", type=click.Path(exists=True, path_type=Path), help="Submit the searches to this Slurm site.")
@click.option("--results", type=click.Path(path_type=Path), help="Keep what finished searches found in this folder.")
@click.option("--dry-run", is_flag=True, help="Print the commands and run none.")
def main(
    folder: Path,
    runs: Path | None,
    arms: tuple[str, ...],
    seeds: tuple[int, ...],
    site: Path | None,
    results: Path | None,
    dry_run: bool,
) -> None:
    todo = list(searches(folder, runs or Path("runs/experiments") / folder.resolve().name, arms, seeds))
    failed = []
    for number, search in enumerate(todo, start=1):
        click.echo(f"search {number} of {len(todo)}: {search.run}", err=True)
        if dry_run:
            click.echo(shlex.join(search.command(site)))
        elif not run_one(search, site, results):
            failed.append(search.run)
    if failed:
        raise click.ClickException(f"not finished: {', '.join(map(str, failed))}; the same command goes on with them")


if __name__ == "__main__":
    main()
