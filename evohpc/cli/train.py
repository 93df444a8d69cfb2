"""The train command: trains one candidate of a search again and keeps the network."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evohpc.cli.shared import run_argument, stdout_console
from evohpc.cli.signals import tidied_up
from evohpc.errors import ConfigError

if TYPE_CHECKING:
    from evohpc.config.search import Config
    from evohpc.messages import TaskInterface
    from evohpc.run_folder import RunDir
    from evohpc.store.rows import Entry

_TICK_S = 0.25


@click.command(
    epilog="""\b
Examples:
  evohpc train runs/first                                 the best, into trained/ID
  evohpc train runs/first r003p07s012 -o net --set task_options.steps=8000
  evohpc train runs/first best --seed 1 && python trained/*/load.py"""
)
@run_argument
@click.argument("candidate_id", metavar="[ID]", default="best")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="A new folder; default: trained/ID."
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe, e.g. task_options.steps=8000."
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Other initial weights, batches and samples; default: its own."
)
def train(run: Path, candidate_id: str, output: Path | None, overrides: tuple[str, ...], seed: int | None) -> None:
    """Train a candidate again; keep the network.

    On this machine, in the search's sandbox, and unless you change it on the same data with the same recipe. The folder
    has the program, its weights as safetensors, what was measured, the config, and load.py, which loads it in plain
    PyTorch. Nothing is overwritten. ID is `best` if it is left away. Exit code 1 if it could not be trained.
    """
    from evohpc.report.reader import Reading

    with Reading(run) as reading:
        entry, task = reading.candidate(candidate_id), reading.task
    if not keep_network(run, entry, task, output or Path("trained", entry.id), overrides=overrides, seed=seed):
        sys.exit(1)


COMMANDS = (train,)


def keep_network(
    run: Path,
    entry: Entry,
    task: TaskInterface,
    folder: Path,
    *,
    overrides: tuple[str, ...] = (),
    seed: int | None = None,
) -> bool:
    """Train a candidate of a run again, say what was measured, and keep the network; return whether it was trained.

    Args:
        folder: a new one.
        overrides, seed: as `train` has them.

    Raises:
        ConfigError: something is to be changed that is not the recipe.
        RunFolderError: there is something of the folder's name.
        EvohpcError: see `retrain`.
    """
    from evohpc.evaluation.retraining import retrain
    from evohpc.report import tables
    from evohpc.report.curves import in_words
    from evohpc.report.terminal import printable
    from evohpc.report.trained_model import check_new, write_model
    from evohpc.run_folder import RunDir

    check_new(folder)
    config = _config(RunDir(run), overrides, seed)
    logs: list[bytes] = []
    with _progress(entry), tidied_up():
        trained = retrain(RunDir(run), config, entry.candidate, logs.append)
    result = trained.result
    stdout_console().print(tables.result_details(result, task.size_name, in_words(result.curve)))
    if not trained.model:
        click.echo(printable(b"".join(logs).decode(errors="replace").rstrip()), err=True)
        return False
    write_model(folder, entry.candidate, result, trained.model, is_plain=trained.is_plain, config=config, task=task)
    click.echo(f"wrote {folder}; load it: python {folder / 'load.py'}", err=True)
    return True


def _config(run: RunDir, overrides: tuple[str, ...], seed: int | None) -> Config:
    """Return the config of a run with another recipe.

    Raises:
        ConfigError: something else is to be changed.
    """
    from evohpc.config.evaluation import EvaluationConfig
    from evohpc.config.search import load_resolved
    from evohpc.search.verification import SETTABLE

    for override in overrides:
        if override.partition("=")[0].partition(".")[0] not in SETTABLE:
            raise ConfigError(f"--set {override}: a training can change {', '.join(SETTABLE)}, and nothing else")
    limit = max(load_resolved(run.config).evaluation.time_limit_s, EvaluationConfig().time_limit_s)
    more = () if seed is None else (f"search.seed={seed}",)
    return load_resolved(run.config, (f"evaluation.time_limit_s={limit}", *overrides, *more))


@contextmanager
def _progress(entry: Entry) -> Iterator[None]:
    """Show how long it has been at work, beside how long it took in the search."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    took = entry.result.seconds.get("total", 0.0) if entry.result else 0.0
    beside = f"({took:,.0f} s in the search)" if took else ""
    console, done, began = Console(stderr=True), threading.Event(), time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn(beside))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        bar = shown.add_task(f"training {entry.id}", total=took or None)

        def tick() -> None:
            while not done.wait(_TICK_S):
                shown.update(bar, completed=min(time.monotonic() - began, took))

        ticking = threading.Thread(target=tick, daemon=True)
        ticking.start()
        try:
            yield
        finally:
            done.set()
            ticking.join()
