"""Commands that drive a run, or end what drives it: run, submit, cancel."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evohpc.cli.shared import command, config_argument, overrides_option, run_argument, site_option, stdout_console
from evohpc.cli.signals import INTERRUPTED, stop_signals
from evohpc.errors import ConfigError, RunFolderError
from evohpc.messages import SEED_ROUND, Status

if TYPE_CHECKING:
    from evohpc.config.search import Config
    from evohpc.config.site import Site
    from evohpc.report.reader import Reading
    from evohpc.search.search import Search
    from evohpc.search.verification import Verification


@click.command(
    epilog="""\b
Examples:
  evohpc run runs/first configs/quickstart.yaml
  evohpc run runs/first                                   goes on with it
  evohpc run runs/first configs/quickstart.yaml --set search.rounds=5"""
)
@run_argument
@config_argument
@overrides_option
@site_option
def run(run: Path, config: Path | None, overrides: tuple[str, ...], site: Path | None) -> None:
    """Start a search, or go on with it.

    Drives the search in RUN to its end. Ctrl-C stops it cleanly; nothing is lost, however it ends.
    """
    from evohpc.report.reader import Reading  # now: in the days that a search takes, evohpc may be upgraded

    drive(lambda: open_search(run, config, overrides, site), go_on=command("run", run))
    with Reading(run) as reading:
        _print_end(reading, run)
        if not reading.store.counts(SEED_ROUND).get(Status.TRAINED):  # where search.rounds is 0
            sys.exit(1)


@click.command(
    epilog="""\b
Examples:
  evohpc submit runs/mnist1d configs/mnist1d.yaml --site slurm/mysite.yaml --dry-run
  evohpc submit runs/mnist1d configs/mnist1d.yaml --site slurm/mysite.yaml
  evohpc submit runs/mnist1d                              goes on with it"""
)
@run_argument
@config_argument
@overrides_option
@site_option
@click.option(
    "--dry-run", is_flag=True, help="Print every sbatch script and apptainer command; make and submit nothing."
)
def submit(run: Path, config: Path | None, overrides: tuple[str, ...], site: Path | None, dry_run: bool) -> None:
    """Have a Slurm job drive the search in RUN."""
    if dry_run:
        click.echo(_preview(run, config, overrides, site), nl=False)
        return
    with open_search(run, config, overrides, site) as search:
        submit_driver(search)


@click.command(
    epilog="""\b
Examples:
  evohpc cancel runs/mnist1d
  evohpc submit runs/mnist1d                              goes on with it"""
)
@run_argument
def cancel(run: Path) -> None:
    """End the Slurm jobs of a search. What is finished is kept; `evohpc submit RUN` goes on.

    A driver that you started by `evohpc run RUN` is none of them: stop it first, with Ctrl-C.
    """
    from evohpc.search import driver_job
    from evohpc.search.search import Search

    search = Search.open(run)
    if search.site is None:
        raise RunFolderError(f"{run} does not run on Slurm; stop its driver with Ctrl-C, or `kill` its process")
    ids = driver_job.cancel(search.folder, search.run_id, search.site, partial(click.echo, err=True))
    search.cancel_jobs()
    click.echo(
        f"ended the driver ({', '.join(ids) or 'none ran'}) and its job arrays; go on: {command('submit', run)}",
        err=True,
    )


COMMANDS = (run, submit, cancel)


def drive(start: Callable[[], Search | Verification], *, go_on: str) -> None:
    """Drive a search to its end, with progress on stderr. A signal stops it, and ends this process.

    Args:
        start: creates or opens the search, or the verification of one.
        go_on: the command that goes on after a stop.
    """
    from evohpc.cli.progress import Display
    from evohpc.driver.driver import Stopped

    with Display() as display, stop_signals(display) as stop:
        try:
            with start() as search:
                search.run(observe=display.observe, stop=stop.event, waiting=display.note)
        except Stopped:
            display.note(f"stopped; nothing is lost. Go on with: {go_on}")
            sys.exit(stop.exit_code)
        except KeyboardInterrupt:
            display.note("stopped before the search began; run the same command again")
            sys.exit(INTERRUPTED)


def submit_driver(search: Search) -> None:
    """Have a Slurm job drive a search; print its id.

    Raises:
        ConfigError: the run has no site profile.
        EvaluationError: the scheduler refused.
    """
    from evohpc.search import driver_job

    run, profile = search.folder.path, search.site
    if profile is None:
        raise ConfigError(f"{run} has no site profile yet; name one: --site slurm/mysite.yaml")
    _print_cost(search.config, profile)
    job_id = driver_job.submit(search.folder, search.run_id, profile)
    click.echo(job_id)
    if held := driver_job.held(search.run_id, profile):
        click.echo(f"job {job_id} is to drive {run}, and does not start by itself: {held}", err=True)
        again = f"{command('cancel', run)} && {command('submit', run)} --site FILE"
        click.echo(f"release it (scontrol release {job_id}), or mend the site profile, then: {again}", err=True)
        return
    click.echo(f"job {job_id} drives {run}; watch it: {command('status', run)}", err=True)


def open_search(run: Path, config: Path | None, overrides: tuple[str, ...], site: Path | None) -> Search:
    """Create a search, or open the one that is there, with what is given again for it."""
    from evohpc.config.search import load_config, load_resolved
    from evohpc.run_folder import RunDir
    from evohpc.search.search import Search

    profile = load_profile(site)
    _check_order(run, config)
    if config is not None:
        loaded = load_config(config, overrides)
        if loaded.evaluation.runtime == "apptainer" and profile is None and not RunDir(run).site.exists():
            raise ConfigError("evaluation.runtime is apptainer, which needs a site profile: pass --site FILE")
        return Search.create(run, loaded, site=profile)
    search = Search.open(run)
    if overrides or profile:
        return Search.create(run, load_resolved(search.folder.config, overrides), site=profile)
    return search


def _check_order(run: Path, config: Path | None) -> None:
    """Refuse a file in the place of the run folder before the config is read: the two may be in the wrong order."""
    if config is not None and run.is_file():
        raise RunFolderError(f"{run} is a file; a run needs a folder, which comes before the config: RUN CONFIG")


def load_profile(path: Path | None) -> Site | None:
    """Return the site profile that --site names, if it does."""
    from evohpc.config.site import load_site

    return None if path is None else load_site(path)


def _preview(run: Path, config: Path | None, overrides: tuple[str, ...], site: Path | None) -> str:
    from evohpc.config.search import load_config, load_resolved
    from evohpc.config.site import load_site
    from evohpc.run_folder import RunDir
    from evohpc.search import creation, preview

    folder = RunDir(run.resolve())
    _check_order(run, config)
    if config is None:
        creation.run_id(RunDir(run))  # says so if this is no run folder
    loaded = load_config(config, overrides) if config else load_resolved(folder.config, overrides)
    if site is None and not folder.site.is_file():
        raise ConfigError("--site FILE is missing: the profile of the cluster, see slurm/*.yaml")
    profile = load_site(site or folder.site)
    creation.rehearse(RunDir(run), loaded, profile)
    _print_cost(loaded, profile)
    run_id = creation.run_id(folder) if creation.exists(folder) else f"{folder.path.name}-XXXXXXXX"
    return preview.text(folder, run_id, profile, loaded)


def _print_cost(config: Config, site: Site) -> None:
    from evohpc.search import cost
    from evohpc.search.seed_files import read_seeds

    for what, most in cost.lines(cost.bound(config, len(read_seeds(config.seeds)), site)):
        click.echo(f"{what}: {most}", err=True)


def _print_end(reading: Reading, run: Path) -> None:
    from evohpc.report import failures, tables
    from evohpc.report.early_end import in_words
    from evohpc.report.terminal import printable

    console = stdout_console()
    console.print(tables.best_table(reading.best(10), reading.task))
    console.print(tables.sentence(reading.store.counts()))
    if fitter := reading.not_counted():
        console.print(fitter, markup=False, soft_wrap=True)
    for line in failures.lines(reading.store, run):
        click.echo(printable(line), err=True)
    if reading.early_end is not None:
        click.echo(f"stopped: {in_words(reading.early_end)}", err=True)
    click.echo(f"next: {reading.advice()}", err=True)
