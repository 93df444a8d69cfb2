"""The doctor command: checks every requirement of a search and says what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evohpc.cli.shared import overrides_option, site_option, stdout_console

if TYPE_CHECKING:
    from rich.table import Table

    from evohpc.doctor import Finding
    from evohpc.doctor.attacking import Outcome

_MARKS = {"ok": "ok     ", "warning": "warning", "fault": "FAULT  "}


@click.command(
    epilog="""\b
Examples:
  evohpc doctor configs/mnist1d.yaml
  evohpc doctor configs/mnist1d.yaml --site slurm/mysite.yaml
  srun evohpc doctor configs/mnist1d.yaml --site slurm/mysite.yaml --node
  evohpc doctor fs /scratch/me/runs
  evohpc doctor --attack configs/mnist1d.yaml
  srun --mem=8G evohpc doctor --attack configs/mnist1d.yaml --site slurm/mysite.yaml"""
)
@click.argument("target", nargs=-1, required=True, metavar="CONFIG | fs PATH")
@site_option
@click.option("--node", is_flag=True, help="Look at this compute node only; run it inside a job.")
@click.option("--attack", is_flag=True, help="Set hostile candidates on this host; minutes. In a job: on its node.")
@click.option("--runs", default=".", show_default=True, type=click.Path(path_type=Path), help="Folder for runs.")
@overrides_option
def doctor(
    target: tuple[str, ...], site: Path | None, node: bool, attack: bool, runs: Path, overrides: tuple[str, ...]
) -> None:
    """Check every requirement; say what to do.

    Changes nothing, submits nothing.

    `doctor fs PATH` tries locks, links, renames and fsync of a file system instead. Exit code 1 if there is a fault.

    `doctor --attack CONFIG` has hostile candidates try here, in the runtime of CONFIG and beside a healthy one, what a
    sandbox must hold: forged scores, labels, memory, disk, time, processes, signals, the network. It needs isolation
    confined or container, takes under ten minutes, and prints what holds. Exit code 1 if something does not.
    """
    from evohpc.doctor import probe_files

    if attack and (len(target) != 1 or target[0] == "fs" or node):
        raise click.UsageError("--attack takes one config, and no --node: it always looks at this host only")
    if attack:
        sys.exit(print_attacks(Path(target[0]), overrides, site))
    if target[0] == "fs" and len(target) == 2:
        findings: Iterable[Finding] = probe_files(Path(target[1]))
    elif len(target) == 1 and target[0] != "fs":
        findings = _examine(Path(target[0]), overrides, site, node, runs)
    else:
        raise click.UsageError("name one config, or: fs PATH")
    sys.exit(print_findings(findings))


def _examine(config: Path, overrides: tuple[str, ...], site: Path | None, node: bool, runs: Path) -> Iterable[Finding]:
    from evohpc.config.search import load_config
    from evohpc.config.site import Site, load_site
    from evohpc.doctor import examine_benchmark, examine_files, examine_host, examine_slurm

    loaded = load_config(config, overrides)
    profile = Site() if site is None else load_site(site)
    given = None if site is None else profile
    if node:
        return chain(examine_host(loaded, profile), examine_benchmark(loaded, given, trains=True))
    machine = examine_host(loaded, profile) if site is None else examine_slurm(loaded, profile)
    benchmark = examine_benchmark(loaded, given, trains=site is None)
    return chain(machine, examine_files(runs, on_cluster=site is not None), benchmark)


def print_attacks(config: Path, overrides: tuple[str, ...], site: Path | None) -> int:
    """Have hostile candidates attack this host; print what holds, and return the exit code."""
    from rich.console import Console
    from rich.progress import track

    from evohpc.cli.signals import tidied_up
    from evohpc.config.search import load_config
    from evohpc.config.site import load_site
    from evohpc.doctor import attacking, attacks

    loaded, profile = load_config(config, overrides), None if site is None else load_site(site)
    chosen = list(attacks.chosen())
    with tidied_up():
        outcomes = list(
            track(
                attacking.attack_host(loaded, profile, chosen),
                "attacking this host",
                total=len(chosen) + attacking.LOOKS_AFTERWARDS,
                console=Console(stderr=True),
            )
        )
    stdout_console().print(_table(outcomes))
    through = [outcome for outcome in outcomes if not outcome.holds]
    click.echo(f"{len(outcomes) - len(through)} of {len(outcomes)} hold", err=True)
    if through:
        click.echo("what does not hold here, and whom you must trust then: docs/guarantees.md", err=True)
    return int(bool(through))


def _table(outcomes: Iterable[Outcome]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from evohpc.report.terminal import printable

    table = Table("aim", "attack", "must end in", "ended in", "", box=box.SIMPLE_HEAD)
    for outcome in outcomes:
        mark = {True: "held", False: "NOT HELD", None: "UNKNOWN"}[outcome.holds]
        table.add_row(outcome.aim, outcome.tries, outcome.expected, escape(printable(outcome.happened)), mark)
    return table


def print_findings(findings: Iterable[Finding]) -> int:
    """Print findings as they come; return the exit code."""
    from evohpc.report.terminal import printable

    faults = 0
    for finding in findings:
        click.echo(f"{_MARKS[finding.verdict]}  {finding.check}: {printable(finding.found)}")
        if finding.advice:
            click.echo(f"         -> {printable(finding.advice)}")
        faults += finding.verdict == "fault"
    click.echo(f"{faults} to mend first" if faults else "nothing to mend", err=True)
    return int(faults > 0)


COMMANDS = (doctor,)
